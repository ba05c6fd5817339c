#!/usr/bin/env node
// A minimal peer of the perdure protocol, version 2, written from docs/protocol.md alone ("§" is a section of it):
//     node peer.mjs TICKET|@FILE HOST:PORT [--kills N] [--kill-every BYTES] [--key FILE]
// It opens one stream to HOST:PORT through the ticket's gateway, from standard input and to standard output. With --kills it closes its own
// peer connection N times while bytes are under way, and resumes the session on a new one. Of what §1 lets a client leave out it has WINDOW.

import crypto, { createHash, createHmac, createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import nodeDataChannel from 'node-datachannel';
import WebSocket from 'ws';

const join = (...parts) => Buffer.concat(parts.map((each) => (typeof each === 'string' ? Buffer.from(each) : each)));
const sha256 = (...parts) => createHash('sha256').update(join(...parts)).digest();
const hmac = (key, ...parts) => createHmac('sha256', key).update(join(...parts)).digest();
const say = (text) => process.stderr.write(`${(performance.now() / 1000).toFixed(2)} s  ${text}\n`);
/** What ends the program, with a line and an exit code, which are perdure's: 2 usage, 3 rendezvous unreachable, 5 not authorised. */
const fatal = (message, exitCode = 1) => Object.assign(new Error(message), { exitCode });

// ---- Ticket (§2) --------------------------------------------------------------------------------------------------------------------
export function readTicket(text, now = Date.now() / 1000) {
  const refuse = (why) => fatal(`this is no ticket: ${why}`, 2);
  const [, encoded] = /^perdure2-([\w-]{1,1015})$/.exec(text.replace(/[ \t\n\v\f\r]/g, '')) ?? [];
  if (!encoded) throw refuse('it is not perdure2- and base64url');
  const bytes = Buffer.from(encoded, 'base64url');
  const check = sha256('perdure ticket', bytes.subarray(4)).subarray(0, 4);
  const isWhole = bytes.length > 76 && check.equals(bytes.subarray(0, 4)) && bytes.toString('base64url') === encoded;
  if (!isWhole) throw refuse('it is mistyped or truncated');
  const expires = Number(bytes.readBigUInt64BE(4));
  if (expires !== 0 && expires <= now) throw fatal('the ticket has expired', 5);
  const [gateway, secret, address] = [bytes.subarray(12, 44), bytes.subarray(44, 76), bytes.subarray(76).toString()];
  if (!/^wss?:\/\/[!-~]+$/.test(address) || !URL.canParse(address)) throw refuse('its rendezvous is no URL of a WebSocket');
  const url = new URL(address);
  if (url.pathname === '/') url.pathname = '/v2';
  return { url, gateway, secret, id: sha256('perdure ticket id', secret).subarray(0, 16) };
}

// ---- Noise_IKpsk2_25519_AESGCM_SHA256, the initiator's end, and DATA envelopes (§4) -------------------------------------------------
const der = (start, bytes, type) => ({ key: join(Buffer.from(start, 'hex'), bytes), format: 'der', type }); // Node takes no raw keys
const raw = (key, type) => key.export({ format: 'der', type }).subarray(-32);
const nonce = (counter) => Buffer.from(counter.toString(16).padStart(24, '0'), 'hex');

export function keyPair(secret = raw(crypto.generateKeyPairSync('x25519').privateKey, 'pkcs8')) {
  const privateKey = createPrivateKey(der('302e020100300506032b656e04220420', secret, 'pkcs8'));
  return { secret, privateKey, public: raw(createPublicKey(privateKey), 'spki') };
}
/** X25519. OpenSSL throws where the result is zeros. */
function dh({ privateKey }, other) {
  return crypto.diffieHellman({ privateKey, publicKey: createPublicKey(der('302a300506032b656e032100', other, 'spki')) });
}

function seal(key, counter, plain, associated) {
  const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce(counter)).setAAD(associated);
  return join(cipher.update(plain), cipher.final(), cipher.getAuthTag());
}
function unseal(key, counter, sealed, associated) {
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, nonce(counter)).setAAD(associated).setAuthTag(sealed.subarray(-16));
  return join(decipher.update(sealed.subarray(0, -16)), decipher.final());
}
function hkdf(chain, input) {
  const t = hmac(chain, input);
  const o1 = hmac(t, '\x01');
  const o2 = hmac(t, o1, '\x02');
  return [o1, o2, hmac(t, o2, '\x03')];
}

export function handshake(gateway, client, text, e = keyPair()) {
  let [h, ck, k] = Array(2).fill(Buffer.from('Noise_IKpsk2_25519_AESGCM_SHA256'));
  const mixHash = (bytes) => ((h = sha256(h, bytes)), bytes);
  const mixKey = (bytes) => ([ck, k] = hkdf(ck, bytes));
  for (const each of ['perdure 2', gateway, e.public]) mixHash(each);
  for (const each of [e.public, dh(e, gateway)]) mixKey(each);
  const sealedKey = mixHash(seal(k, 0, client.public, h));
  mixKey(dh(client, gateway));
  const envelope = join('\x21', e.public, sealedKey, mixHash(seal(k, 0, Buffer.from(text), h)));
  const behindKnock = [h, ck];
  /** Opens a WELCOME (with the ticket's secret) or a REFUSAL (with zeros); throws where it cannot, and may be asked again. */
  function answer(reply, secret) {
    [h, ck] = behindKnock;
    const [e2, sealed] = [reply.subarray(5, 37), reply.subarray(37)];
    for (const each of [mixHash(e2), dh(e, e2), dh(client, e2)]) mixKey(each);
    const [ck2, x, k2] = hkdf(ck, secret);
    mixHash(x);
    const inside = JSON.parse(unseal(k2, 0, sealed, h));
    mixHash(sealed);
    const [toGateway, toClient] = hkdf(ck2, '');
    return { inside, keys: { toGateway, toClient, hash: h, sent: 0, opened: 0 } };
  }
  return { envelope, tag: sha256(envelope).subarray(0, 4), answer };
}

export function sealData(keys, text) {
  const head = join('\x23', keys.hash.subarray(0, 4), nonce(++keys.sent).subarray(4));
  return join(head, seal(keys.toGateway, keys.sent, Buffer.from(text), head));
}
export function openData(keys, envelope) {
  const counter = Number(envelope.readBigUInt64BE(5));
  if (counter <= keys.opened) throw new Error('a counter that was there before');
  const text = unseal(keys.toClient, counter, envelope.subarray(13), envelope.subarray(0, 13)).toString();
  keys.opened = counter;
  return text;
}

// ---- Signaling: the rendezvous (§3), knocks (§4), the reliable channel (§5) ----------------------------------------------------------
class Signaling {
  constructor(ticket, client, session, on) {
    Object.assign(this, { ticket, client, session, on, peerId: randomBytes(16).toString('hex') });
    Object.assign(this, { knocks: 0, attempts: 0, kept: [], numbered: 0, transmitted: 0, taken: 0, resends: 0, resentAt: 0 });
    this.connect();
  }
  connect() {
    this.ws = new WebSocket(this.ticket.url, { handshakeTimeout: 5000 });
    this.ws.on('message', (text) => {
      try {
        this.onFrame(JSON.parse(text));
      } catch (error) {
        if (error.exitCode) this.on.error(error);
        else say(`dropped: ${error.message}`); // anybody can send an envelope that does not open, and it changes nothing
      }
    });
    this.ws.on('error', (error) => say(`rendezvous: ${error.message || error.code}`));
    this.ws.on('close', () => {
      this.isHere = false;
      if (!this.isOver) setTimeout(() => this.connect(), Math.random() * Math.min(2000, 100 * 2 ** ++this.attempts));
    });
  }
  frame = (fields) => this.ws.readyState === WebSocket.OPEN && this.ws.send(JSON.stringify(fields));
  envelope = (bytes) => this.frame({ type: 'send', to: '', body: bytes.toString('base64') });
  onFrame({ type, peers, present, body, code, reason }) {
    const room = () => sha256('perdure room', this.ticket.gateway).subarray(0, 16).toString('hex');
    if (type === 'challenge') this.frame({ type: 'join', room: room(), role: 'client', peer_id: this.peerId });
    if (type === 'deliver') this.onEnvelope(Buffer.from(body, 'base64'));
    if (type === 'joined' || type === 'presence') {
      this.attempts = 0;
      this.isHere = present ?? peers !== undefined; // a client hears of nobody but the gateway
      if (this.isHere) this.knock();
      else say('the gateway is not at the rendezvous: waiting');
    }
    if (type !== 'refused') return;
    say(`the rendezvous refuses: ${code} ${reason}`);
    if (/^bad-|^message-too-large/.test(code)) throw fatal('the rendezvous does not take this client', 3);
  }
  knock() {
    if (!this.isHere || this.isOver) return;
    const inside = { session: this.session.toString('base64'), ticket: this.ticket.id.toString('base64'), number: ++this.knocks };
    this.pending = handshake(this.ticket.gateway, this.client, JSON.stringify(inside));
    this.envelope(this.pending.envelope);
    clearTimeout(this.knockTimer);
    this.knockTimer = setTimeout(() => this.knock(), 5000);
  }
  onEnvelope(envelope) {
    if (envelope[0] === 0x23) return this.onData(envelope);
    if (!this.pending?.tag.equals(envelope.subarray(1, 5))) return;
    if (envelope[0] === 0x22) return this.onWelcome(this.pending.answer(envelope, this.ticket.secret));
    if (envelope[0] !== 0x24) return;
    const { reason, detail } = this.pending.answer(envelope, Buffer.alloc(32)).inside;
    this.pending = null;
    if (reason !== 'full') throw fatal(`the gateway does not let this client in: ${reason} ${detail ?? ''}`, 5);
    say('the gateway is full'); // the timer knocks again
  }
  onWelcome({ inside, keys }) {
    this.pending = null;
    clearTimeout(this.knockTimer);
    const isLost = this.instance !== undefined && (inside.instance !== this.instance || (this.hasSpoken && !inside.known));
    if (isLost) throw fatal('session lost: the gateway was restarted, or has forgotten it');
    // The gateway seals under the older keys until it has heard the new ones.
    Object.assign(this, { instance: inside.instance, older: this.keys, keys });
    this.on.iceServers(inside.iceServers ?? []);
    this.body({}); // at once: before it the gateway does not begin the session
    this.resend();
  }
  onData(envelope) {
    const keys = [this.keys, this.older].find((each) => each?.hash.subarray(0, 4).equals(envelope.subarray(1, 5)));
    if (!keys) return;
    const { seq = 0, first = 0, ack = 0, missing, message } = JSON.parse(openData(keys, envelope));
    if (keys === this.keys) this.older = null;
    this.hasSpoken = true;
    if (ack > this.numbered) return;
    const kept = this.kept.filter((each) => each.seq > ack);
    if (kept.length < this.kept.length) Object.assign(this, { kept, resends: 0 }).send();
    if (missing && Date.now() - this.resentAt > 200) this.resend();
    if (!message) return;
    const isNext = seq === this.taken + 1 || (seq === first && seq > this.taken);
    if (!isNext) return this.body({ missing: seq > this.taken || undefined });
    this.taken = seq;
    this.ackTimer ??= setTimeout(() => this.body({}), 50);
    this.on.message(message);
  }
  body(fields) {
    this.ackTimer = clearTimeout(this.ackTimer);
    if (this.keys) this.envelope(sealData(this.keys, JSON.stringify({ ...fields, ack: this.taken || undefined })));
  }
  send(message) {
    if (message) this.kept.push({ seq: ++this.numbered, message });
    if (!this.keys || !this.isHere) return;
    for (const { seq, message } of this.kept.slice(0, 32)) {
      if (seq > this.transmitted) this.body({ seq, first: this.kept[0].seq, message });
      this.transmitted = Math.max(this.transmitted, seq);
    }
    clearTimeout(this.resendTimer);
    if (this.kept.length) this.resendTimer = setTimeout(() => this.resend(++this.resends), Math.min(10000, 1000 * 2 ** this.resends));
  }
  resend(times = 0) {
    if (times >= 2) this.knock(); // in vain: the gateway may have lost the session
    Object.assign(this, { resentAt: Date.now(), transmitted: 0 }).send();
  }
}

// ---- Session frames (§8) ------------------------------------------------------------------------------------------------------------
const [HELLO, RESUME, OPEN, DATA, ACK, WINDOW, FIN, RESET, GONE, PING, PONG, CLOSE, ACCEPT] = Array.from({ length: 13 }, (_, i) => i + 1);
const [NUMBER, BYTES] = [['stream', 'n'], ['stream', 'n', 'bytes']];
const LAYOUT = {
  [HELLO]: ['session', 'key', 'parameters'], [RESUME]: ['session', 'generation', 'proof', 'parameters', 'positions'],
  [OPEN]: BYTES, [DATA]: BYTES, [ACK]: NUMBER, [WINDOW]: NUMBER, [FIN]: NUMBER, [RESET]: NUMBER, [ACCEPT]: NUMBER,
  [GONE]: ['stream'], [PING]: ['token'], [PONG]: ['token'], [CLOSE]: ['n', 'bytes', 'parameters'],
};
const SIZES = { session: 16, key: 32, proof: 32 };
const RESETS = ['aborted', 'not allowed', 'refused by the target', 'timed out', 'unreachable', 'too many streams'];

/** A variable-length integer (RFC 9000 §16). */
export function int(n) {
  const size = n < 0x40 ? 1 : n < 0x4000 ? 2 : n < 0x40000000 ? 4 : 8;
  const bytes = nonce(n).subarray(12 - size);
  bytes[0] |= Math.log2(size) << 6;
  return bytes;
}
export const frame = (type, ...fields) => join(int(type), ...fields.map((each) => (typeof each === 'number' ? int(each) : each)));
export class Reader {
  constructor(bytes) {
    Object.assign(this, { all: bytes, at: 0 });
  }
  take(count) {
    if (this.at + count > this.all.length) throw new Error('a frame ends early');
    return this.all.subarray(this.at, (this.at += count));
  }
  int() {
    const [head] = this.take(1);
    const n = this.take((1 << (head >> 6)) - 1).reduce((value, byte) => value * 256 + byte, head & 0x3f);
    if (n > Number.MAX_SAFE_INTEGER) throw new Error('an integer is too large');
    return n;
  }
  field(name) {
    const position = () => ({ stream: this.int(), received: this.int(), window: this.int(), flags: this.int() });
    if (name === 'positions') return Array.from({ length: Math.min(this.int(), 2048) }, position);
    if (name === 'parameters') return this.parameters();
    if (name === 'bytes') return this.take(this.int());
    return name in SIZES ? this.take(SIZES[name]) : this.int();
  }
  parameters() {
    const inside = new Reader(this.take(this.int()));
    const values = { 1: [2, 2], 2: [65536], 3: [65536] };
    while (inside.at < inside.all.length) {
      const [id, value] = [inside.int(), new Reader(inside.take(inside.int()))];
      values[id] = values[id]?.map(() => value.int());
    }
    return { lowest: values[1][0], highest: values[1][1], credit: values[2][0], longest: values[3][0] };
  }
  frame() {
    const [type] = this.take(1);
    if (type >= 0x40) return { type, skipped: this.take(this.int()) };
    if (!LAYOUT[type]) throw new Error(`a frame of type ${type}`);
    return { type, ...Object.fromEntries(LAYOUT[type].map((name) => [name, this.field(name)])) };
  }
}

export function proof(key, who, session, generation, binding) {
  return hmac(key, `perdure resume 2 ${who}\0`, session, int(generation), binding);
}
export function bindingOf(...descriptions) {
  const digits = descriptions.map((sdp) => /^a=fingerprint:sha-256 ([0-9a-f:]{95})\s*$/im.exec(sdp)[1].replaceAll(':', ''));
  return join(...digits.map((each) => Buffer.from(each, 'hex')).sort(Buffer.compare));
}

// ---- The session: negotiation (§6), carriers (§7), one stream (§8) -------------------------------------------------------------------
const ID = 1; // the stream's
const CREDIT = 2 << 20; // granted beyond what was read; and no more than this is held of what was not acknowledged
class Session {
  constructor(ticket, client, target, options) {
    Object.assign(this, { target, ...options, id: randomBytes(16), key: randomBytes(32) });
    Object.assign(this, { current: 0, failures: 0, killed: 0, openSaid: false, openSent: false, isHeardOf: false });
    // The stream. What goes: held is [acked, end); below next it went over this carrier, below most over any. A FIN counts as a byte, as in
    // ACK. What comes: granted is the limit that the gateway was told.
    this.out = { held: Buffer.alloc(0), acked: 0, next: 0, most: 0, end: 0, limit: 0, isEnding: false };
    this.in = { received: 0, acked: 0, read: 0, granted: CREDIT, fin: 0 };
    const on = { iceServers: (servers) => this.useServers(servers), message: (m) => this.onSignal(m), error: (e) => this.end(e) };
    this.signaling = new Signaling(ticket, client, this.id, on);
    setInterval(() => this.look(), 500);
  }
  useServers(iceServers) {
    const login = ({ username, credential }) => `${encodeURIComponent(username)}:${encodeURIComponent(credential)}@`;
    this.iceServers = iceServers.map((each) => (each.username ? each.urls.replace(/^turns?:/, (it) => it + login(each)) : each.urls));
    if (this.current) return; // the next carrier uses them
    process.stdin.on('data', (bytes) => this.write(bytes)).on('end', () => this.write(Buffer.alloc(0), true));
    this.begin('the first');
  }
  // -- negotiation. This peer offers and never answers: its own offer of a higher generation is its answer to each of the gateway's
  onSignal({ type, generation, sdp, cause, candidate, sdpMid, reason, iceServers = [] }) {
    const { carrier } = this;
    if (type === 'ice-servers') return this.useServers(iceServers);
    if (type === 'bye') return this.isOver || this.end(fatal(`the gateway has ended the session: ${reason}`));
    const isNews = type === 'offer' && generation > this.current && generation % 2 === 0;
    if (isNews) return this.begin(`the gateway offered ${generation}: ${cause}`, generation);
    if (type === 'offer' || generation !== this.current) return;
    if (type === 'answer' && !carrier) return this.begin('an answer that came late: the gateway is there');
    if (type === 'answer' && !carrier.answer) {
      carrier.answer = sdp;
      this.guard(carrier, () => carrier.pc.setRemoteDescription(sdp, 'answer'));
      carrier.candidates.forEach((each) => this.signaling.send(each));
    }
    if (type === 'candidate' && carrier?.answer) this.guard(carrier, () => carrier.pc.addRemoteCandidate(candidate, sdpMid ?? '0'));
  }
  begin(why, above = this.current) {
    clearTimeout(this.retry);
    this.drop();
    const generation = (this.current = 2 * (Math.floor(above / 2) + 1) + 1);
    say(`offering carrier ${generation} (${why})`);
    const pc = new nodeDataChannel.PeerConnection('perdure', { iceServers: this.iceServers, maxMessageSize: 65536 });
    const carrier = (this.carrier = { pc, generation, candidates: [] });
    const on = (then) => (...values) => this.guard(carrier, () => then(...values)); // an earlier carrier is not heard any more
    pc.onLocalDescription(on((sdp) => this.signaling.send({ type: 'offer', generation, sdp: (carrier.offer = sdp) })));
    pc.onLocalCandidate(on((line, sdpMid) => {
      const message = { type: 'candidate', generation, candidate: line.replace(/^a=/, ''), sdpMid };
      // They go behind the answer: libdatachannel refuses a certificate where DTLS begins before it has read the answer to its end.
      carrier.answer ? this.signaling.send(message) : carrier.candidates.push(message);
    }));
    pc.onStateChange(on((state) => /failed|closed/.test(state) && this.lose(`the connection is ${state}`)));
    const dc = (carrier.dc = pc.createDataChannel('perdure', { negotiated: true, id: 0 }));
    dc.setBufferedAmountLowThreshold(262144);
    dc.onBufferedAmountLow(on(() => this.pump()));
    dc.onOpen(on(() => this.resume(carrier)));
    dc.onClosed(on(() => this.lose('the channel was closed')));
    dc.onMessage(on((message) => typeof message !== 'string' && this.onMessage(carrier, Buffer.from(message))));
    carrier.timer = setTimeout(() => this.lose('no RESUME within 10 s'), 10000);
  }
  /** What goes wrong on a carrier costs the carrier, and not the session. */
  guard(carrier, action) {
    try {
      if (carrier && this.carrier === carrier) action();
    } catch (error) {
      if (error.exitCode && !this.isOver) this.end(error);
      else if (this.carrier === carrier) this.lose(error.message);
    }
  }
  drop() {
    clearTimeout(this.carrier?.timer);
    this.carrier?.pc.close();
    this.carrier = null;
  }
  lose(why) {
    if (this.isOver) return;
    say(`carrier ${this.carrier.generation} is lost: ${why}`);
    this.failures = this.carrier.isResumed ? 0 : this.failures + 1;
    this.drop();
    this.retry = setTimeout(() => this.begin(why), this.failures && 1000 * Math.min(60, 2.5 * 2 ** this.failures));
  }
  // -- the first thing on a carrier
  resume(carrier) {
    carrier.proofOf = (who) => proof(this.key, who, this.id, carrier.generation, bindingOf(carrier.offer, carrier.answer));
    const hello = this.longest ? '' : frame(HELLO, this.id, this.key, 0);
    const positions = this.openSaid ? [1, ID, this.in.received + this.in.fin, this.in.granted, 0] : [0];
    this.put(join(hello, frame(RESUME, this.id, carrier.generation, carrier.proofOf('initiator'), 0, ...positions)));
  }
  onResume(carrier, { session, generation, parameters, positions, ...said }) {
    const { out } = this;
    const isProved = crypto.timingSafeEqual(said.proof, carrier.proofOf('acceptor'));
    const isRight = isProved && session.equals(this.id) && generation === carrier.generation;
    if (carrier.isResumed || !isRight) throw new Error('a wrong RESUME');
    if (parameters.lowest > 2 || parameters.highest < 2) return this.finish(fatal('the gateway speaks another version'), 3);
    clearTimeout(carrier.timer);
    carrier.isResumed = true;
    const described = Number(/^a=max-message-size:(\d+)/m.exec(carrier.answer)?.[1] ?? 0) || 65536;
    this.longest = Math.min(65536, described, parameters.longest);
    const position = positions.find(({ stream }) => stream === ID);
    say(`carrier ${generation} works` + (position ? `; it had ${position.received} bytes, this end ${this.in.received}` : ''));
    const isForgotten = !position && this.isHeardOf;
    if (isForgotten && !(this.in.fin && out.most > out.end)) throw fatal('session lost: the gateway has forgotten the stream');
    this.isHeardOf ||= position !== undefined;
    this.openSent = this.isHeardOf;
    Object.assign(out, { next: out.acked, limit: Math.max(out.limit, position?.window ?? parameters.credit) });
    this.onAck(position?.received ?? (isForgotten ? out.most : 0));
  }
  put = (bytes) => this.guard(this.carrier, () => this.carrier.dc.sendMessageBinary(bytes));
  onMessage(carrier, bytes) {
    carrier.heardAt = Date.now();
    const reader = new Reader(bytes);
    do this.onFrame(carrier, reader.frame());
    while (reader.at < bytes.length && this.carrier === carrier);
    const moved = this.out.acked + this.in.received;
    if (moved >= this.killAt && this.killed < this.kills) {
      this.killAt = moved + this.killEvery * (0.5 + Math.random());
      this.lose(`killed, as --kills asks (${++this.killed})`);
    }
    this.soon ??= setImmediate(() => this.pump()); // so that one ACK is for many messages
  }
  onFrame(carrier, { type, stream, n, bytes, token, ...rest }) {
    if (type === RESUME) return this.onResume(carrier, rest);
    if (type === CLOSE && (carrier.isResumed || n === 1 || n === 3)) throw fatal(`the gateway closed the session: ${n} ${bytes}`);
    if (!carrier.isResumed || type === HELLO) throw new Error(`a frame of type ${type} that may not come now`);
    if (type === PING) this.put(frame(PONG, token));
    if (type === PONG) this.isPinged = false;
    // This peer takes no streams: each of the gateway's is gone already.
    if (stream !== undefined && stream !== ID) return [OPEN, DATA, FIN, RESET].includes(type) && this.put(frame(GONE, stream));
    this.isHeardOf ||= stream === ID;
    if (type === ACK) this.onAck(n);
    if (type === WINDOW || type === ACCEPT) this.out.limit = Math.max(this.out.limit, n);
    if (type === DATA) this.onBytes(n, bytes);
    if (type === FIN && n !== this.in.received) throw new Error('a FIN that is not where the bytes end');
    if (type === FIN) this.in.fin = 1;
    if (type === GONE) throw fatal('session lost: the gateway has forgotten the stream');
    if (type !== RESET) return;
    this.put(frame(GONE, ID));
    this.finish(fatal(`the gateway reset the stream: ${RESETS[n] ?? RESETS[0]}`), 0);
  }
  // -- the stream
  onAck(received) {
    const { out } = this;
    if (received > out.most) throw new Error('an ACK of what was never sent');
    const acked = Math.max(out.acked, received);
    Object.assign(out, { held: out.held.subarray(acked - out.acked), acked, next: Math.max(out.next, acked) });
    if (out.held.length < CREDIT) process.stdin.resume();
  }
  onBytes(offset, bytes) {
    const [into, end] = [this.in, offset + bytes.length];
    if (offset > into.received || end > (into.fin ? into.received : into.granted)) throw new Error('DATA where none may be');
    if (end <= into.received) return;
    process.stdout.write(bytes.subarray(into.received - offset), () => ((into.read = end), this.pump()));
    into.received = end;
  }
  write(bytes, isEnding = false) {
    const { out } = this;
    Object.assign(out, { held: join(out.held, bytes), end: out.end + bytes.length, isEnding });
    if (out.held.length >= CREDIT) process.stdin.pause();
    this.pump();
  }
  /** Says all that is due: OPEN, ACK, bytes, FIN, WINDOW, in the end CLOSE. */
  pump() {
    const { out, in: into, carrier } = this;
    this.soon = null;
    if (!carrier?.isResumed || this.isOver) return;
    const tell = (...fields) => this.carrier === carrier && this.put(frame(...fields));
    if (!this.openSent) tell(OPEN, ID, into.granted, this.target.length, this.target);
    this.openSaid = this.openSent = true;
    if (into.received + into.fin > into.acked) tell(ACK, ID, (into.acked = into.received + into.fin));
    while (out.next < Math.min(out.end, out.limit) && this.carrier === carrier && carrier.dc.bufferedAmount() < 1048576) {
      const most = Math.min(this.longest - 32, out.limit - out.next); // 32: more than the head of DATA takes
      const bytes = out.held.subarray(out.next - out.acked).subarray(0, most);
      tell(DATA, ID, out.next, bytes.length, bytes);
      out.next += bytes.length;
    }
    if (out.isEnding && out.next === out.end) tell(FIN, ID, out.next++);
    out.most = Math.max(out.most, out.next);
    if (!into.fin && into.read + CREDIT - into.granted >= CREDIT / 4) {
      tell(WINDOW, ID, (into.granted = into.read + CREDIT));
      tell(PING, 1); // nothing else answers a WINDOW
      this.isPinged = true;
    }
    if (out.acked > out.end && into.fin && into.read === into.received) this.finish(null, 0);
  }
  /** Loses a carrier on which an answer is due and nothing is heard. */
  look() {
    const { out, carrier } = this;
    if (!carrier?.isResumed) return;
    if (!this.isPinged && out.acked === out.next && this.isHeardOf) carrier.heardAt = Date.now(); // nothing is due
    const silence = Date.now() - carrier.heardAt;
    if (silence > 5000) this.lose('an answer is due, and nothing was heard for 5 s');
    else if (silence > 1000) this.put(frame(PING, 2));
  }
  finish(error, code) {
    this.isOver = true;
    this.put(frame(CLOSE, code, 0, 0));
    // bye takes another way: it goes behind, so that it does not overtake what the carrier still has.
    setTimeout(() => this.signaling.send({ type: 'bye', reason: 'done' }), 250);
    setTimeout(() => this.end(error), 350);
  }
  end(error) {
    this.isOver = this.signaling.isOver = true;
    this.drop();
    this.signaling.ws.close();
    say(error ? `error: ${error.message}` : `done: ${this.out.end} bytes sent, ${this.in.received} received, ${this.killed} carriers killed`);
    process.stdout.write('', () => process.exit(error ? error.exitCode : 0)); // behind what was written before
  }
}

// ---- Command line -------------------------------------------------------------------------------------------------------------------
function main() {
  const options = { kills: { type: 'string' }, 'kill-every': { type: 'string' }, key: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals.length !== 2) throw fatal('usage: node peer.mjs TICKET|@FILE HOST:PORT [--kills N] [--kill-every BYTES] [--key FILE]', 2);
  const ticket = readTicket(positionals[0].replace(/^@(.*)/, (_, path) => readFileSync(path, 'utf-8')));
  const client = keyPair(values.key && existsSync(values.key) ? readFileSync(values.key) : undefined);
  if (values.key) writeFileSync(values.key, client.secret, { mode: 0o600 }); // a ticket may be bound to the key that used it first
  const killEvery = Number(values['kill-every'] ?? 1048576);
  new Session(ticket, client, Buffer.from(positionals[1]), { kills: Number(values.kills ?? 0), killEvery, killAt: killEvery });
}

process.on('uncaughtException', (error) => {
  say(`error: ${error.exitCode ? error.message : error.stack}`);
  process.exit(error.exitCode ?? 1);
});
if (process.argv[1]?.endsWith('peer.mjs')) main();
