#!/usr/bin/env node
// An acceptor of the perdure protocol that echoes each stream, for `perdure conformance` ("§" is a section of docs/protocol.md):
//     perdure conformance -- node acceptor.mjs
// Application signaling (§12) passes over standard input and output, a text a line. Frames and proofs are those of peer.mjs.

import crypto, { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import nodeDataChannel from 'node-datachannel';
import { bindingOf, frame, int, proof, Reader } from './peer.mjs';

const [HELLO, RESUME, OPEN, DATA, ACK, WINDOW, FIN, RESET, GONE, PING, PONG, CLOSE, ACCEPT] = Array.from({ length: 13 }, (_, i) => i + 1);
const [NO_PARAMETERS, CREDIT] = [Buffer.alloc(1), 256 << 10];
const join = (...parts) => Buffer.concat(parts);
const say = (text) => process.stderr.write(`${(performance.now() / 1000).toFixed(2)} s  ${text}\n`);
const refuse = (why) => {
  throw new Error(why);
};

// ---- Frames that must be refused (§8, §10, §11), where the reader of peer.mjs is mild -------------------------------------------------
class StrictReader extends Reader {
  parameters() {
    const length = this.int();
    const inside = new Reader(this.take(length > 1024 ? refuse('parameters are too long') : length));
    const values = new Map();
    while (inside.at < inside.all.length) {
      const id = inside.int();
      if (values.has(id)) refuse('a parameter is said twice');
      values.set(id, inside.take(inside.int()));
    }
    const number = (id, ...defaults) => {
      const value = new Reader(values.get(id) ?? Buffer.alloc(0));
      return values.has(id) ? defaults.map(() => value.int()) : defaults;
    };
    const [[lowest, highest], [longest], [delay], [carriers]] = [number(1, 2, 2), number(3, 65536), number(4, 25), number(5, 1)];
    if (longest < 2048 || delay > 1000 || carriers < 1) refuse('a parameter is out of its bounds');
    return { lowest, highest, longest, delay };
  }
}

// ---- Signaling (§5, §12) ---------------------------------------------------------------------------------------------------------------
const isInt = (value, least, most = 2 ** 31 - 1) => Number.isInteger(value) && value >= least && value <= most;
const isText = (value, most) => typeof value === 'string' && Buffer.byteLength(value) <= most;
const isId = (value) => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);
const MESSAGES = {
  offer: (m) => isInt(m.generation, 1) && isText(m.sdp, 16384) && isInt(m.restarts ?? 0, 0) && isText(m.cause ?? '', 200),
  answer: (m) => isInt(m.generation, 1) && isText(m.sdp, 16384),
  candidate: (m) =>
    isInt(m.generation, 1) && isText(m.candidate, 1024) && isText(m.sdpMid ?? '', 200) && isInt(m.sdpMLineIndex ?? 0, 0),
  bye: (m) => isText(m.reason, 200),
};

class Signaling {
  constructor(on) {
    Object.assign(this, { on, sender: randomBytes(16).toString('hex') });
    this.begin();
    createInterface({ input: process.stdin }).on('line', (line) => this.onLine(line)).on('close', () => on.end('standard input ended'));
  }
  begin() {
    Object.assign(this, { kept: [], numbered: 0, taken: 0, resends: 0, resentAt: 0 });
    clearTimeout(this.resendTimer);
  }
  onLine(line) {
    try {
      if (Buffer.byteLength(line) > 65536) refuse('a text is too long');
      const { session, sender, receiver, seq = 0, first = 0, ack = 0, missing, message = null } = JSON.parse(line);
      const isNumbered = [seq, first, ack].every((each) => isInt(each, 0, Number.MAX_SAFE_INTEGER)) && first <= seq;
      const check = (m) => isText(m.type, 200) && (!Object.hasOwn(MESSAGES, m.type) || MESSAGES[m.type](m)); // other types are skipped
      const isRead = message === null ? seq === 0 : seq > 0 && check(message);
      if (!isId(session) || !isId(sender) || !isNumbered || !isRead) refuse('a text cannot be read');
      this.onText({ session, sender, receiver, seq, first, ack, missing, message });
    } catch (error) {
      say(`dropped: ${error.message}`);
    }
  }
  onText({ session, sender, receiver, seq, first, ack, missing, message }) {
    if (session !== this.session) {
      if (message?.type !== 'offer') return;
      if (this.session) return this.on.end('the initiator was restarted');
      Object.assign(this, { session, peer: sender });
    }
    if (sender !== this.peer) {
      Object.assign(this, { peer: sender, sender: randomBytes(16).toString('hex') }).begin();
      this.send({ type: 'bye', reason: 'the initiator was restarted' });
      return this.on.end('the initiator was restarted');
    }
    if (receiver === undefined || receiver === this.sender) {
      if (ack > this.numbered) refuse('an acknowledgement of what was not said');
      const before = this.kept.length;
      this.kept = this.kept.filter((each) => each.seq > ack);
      if (this.kept.length < before) this.arm((this.resends = 0));
      if (missing && Date.now() - this.resentAt > 200) this.resend();
    }
    if (!message) return;
    const due = Math.max(this.taken + 1, first);
    if (seq !== due) return this.write({ missing: seq > due || undefined });
    this.taken = seq;
    this.ackTimer ??= setTimeout(() => this.write({}), 50);
    this.on.message(message);
  }
  write(fields) {
    this.ackTimer = clearTimeout(this.ackTimer);
    const whose = { session: this.session, sender: this.sender, receiver: this.peer };
    process.stdout.write(`${JSON.stringify({ ...whose, ...fields, ack: this.taken || undefined })}\n`);
  }
  send(message) {
    this.kept.push({ seq: ++this.numbered, message });
    this.write({ seq: this.numbered, first: this.kept[0].seq, message });
    this.arm();
  }
  arm() {
    clearTimeout(this.resendTimer);
    if (this.kept.length) this.resendTimer = setTimeout(() => this.resend(++this.resends), Math.min(10000, 1000 * 2 ** this.resends));
  }
  resend() {
    this.resentAt = Date.now();
    for (const { seq, message } of this.kept) this.write({ seq, first: this.kept[0].seq, message });
    this.arm();
  }
}

// ---- Descriptions and candidates (§7) --------------------------------------------------------------------------------------------------
/** The description without its candidates, which are given one by one; throws where its certificate cannot be told. */
function described(sdp) {
  const lines = sdp.split(/\r?\n/);
  const prints = new Set(lines.filter((line) => /^a=fingerprint:sha-256 /i.test(line)).map((line) => line.slice(22).trim().toUpperCase()));
  if (prints.size !== 1) refuse(`a description with ${prints.size} certificates`);
  const isOther = (line) => /^a=fingerprint:(?!sha-256 )/i.test(line);
  const kept = lines.filter((line) => !line.startsWith('a=candidate:') && line !== 'a=end-of-candidates' && !isOther(line));
  const candidates = lines.filter((line) => line.startsWith('a=candidate:')).map((line) => line.slice(2));
  const size = Number(/^a=max-message-size:(\d+)\s*$/m.exec(sdp)?.[1] ?? 65536) || 65536;
  return { sdp: kept.join('\r\n'), certificate: [...prints][0], candidates, longest: Math.min(65536, size) };
}
const isReachable = (candidate) => /^candidate:\S+ 1 udp \d+ [0-9a-f.:]+ \d+ typ /i.test(candidate);

// ---- The session: negotiation (§6), carriers (§7), streams (§8) ------------------------------------------------------------------------
class Acceptor {
  constructor() {
    Object.assign(this, { current: 0, highest: 0, failures: 0, streams: new Map() });
    this.signaling = new Signaling({ message: (message) => this.onSignal(message), end: (why) => this.end(why) });
    setInterval(() => this.look(), 250);
  }
  onSignal({ type, generation, sdp, restarts = 0, candidate, reason }) {
    const { carrier } = this;
    if (type === 'bye') return this.end(`the peer said bye: ${reason}`);
    if (type === 'offer') {
      if (generation <= this.current || generation % 2 === 0) return;
      this.current = generation;
      return restarts ? this.offer('this end restarts no ICE') : this.begin(generation, sdp);
    }
    if (generation !== this.current || !carrier) return;
    if (type === 'answer' && carrier.isOffered && !carrier.theirs) this.guard(carrier, () => this.onAnswer(carrier, sdp));
    if (type === 'candidate' && carrier.theirs) this.addCandidate(carrier, candidate);
  }
  onAnswer(carrier, sdp) {
    carrier.theirs = described(sdp);
    carrier.pc.setRemoteDescription(carrier.theirs.sdp, 'answer');
    for (const each of carrier.candidates) this.signaling.send(each);
    for (const each of carrier.theirs.candidates) this.addCandidate(carrier, each);
  }
  addCandidate(carrier, candidate) {
    try {
      if (isReachable(candidate)) carrier.pc.addRemoteCandidate(candidate, carrier.mid);
    } catch (error) {
      say(`dropped: ${error.message}`);
    }
  }
  offer(why) {
    say(`offering a carrier: ${why}`);
    this.begin((this.current = 2 * (Math.floor(this.current / 2) + 1)));
  }
  /** Begins a carrier, with the peer's offer or one of this end. */
  begin(generation, sdp) {
    clearTimeout(this.retry);
    this.drop();
    const pc = new nodeDataChannel.PeerConnection('acceptor', { iceServers: [], maxMessageSize: 65536, disableAutoNegotiation: true });
    const carrier = (this.carrier = { pc, generation, isOffered: sdp === undefined, candidates: [], heardAt: Date.now(), useless: 0, mid: '0' });
    const on = (then) => (...values) => this.guard(carrier, () => then(...values));
    pc.onLocalDescription(on((own, type) => this.signaling.send({ type, generation, sdp: (carrier.own = own) })));
    pc.onLocalCandidate(on((line, sdpMid) => {
      const message = { type: 'candidate', generation, candidate: line.replace(/^a=/, ''), sdpMid };
      carrier.theirs ? this.signaling.send(message) : carrier.candidates.push(message);
    }));
    pc.onStateChange(on((state) => /failed|closed/.test(state) && this.lose(`the connection is ${state}`)));
    carrier.timer = setTimeout(() => this.guard(carrier, () => refuse('no RESUME within 10 s')), 10000);
    this.guard(carrier, () => {
      const dc = (carrier.dc = pc.createDataChannel('perdure', { negotiated: true, id: 0 }));
      dc.onOpen(on(() => this.resume(carrier)));
      dc.onClosed(on(() => this.lose('the channel was closed')));
      dc.setBufferedAmountLowThreshold(131072);
      dc.onBufferedAmountLow(on(() => this.pump()));
      dc.onMessage(on((message) => typeof message !== 'string' && this.onMessage(carrier, Buffer.from(message))));
      if (sdp === undefined) return pc.setLocalDescription('offer');
      carrier.theirs = described(sdp);
      carrier.mid = /^a=mid:(\S+)/m.exec(sdp)?.[1] ?? '0';
      pc.setRemoteDescription(carrier.theirs.sdp, 'offer');
      pc.setLocalDescription('answer');
      for (const each of carrier.theirs.candidates) this.addCandidate(carrier, each);
    });
  }
  /** What goes wrong on a carrier costs the carrier, and not the session. */
  guard(carrier, action) {
    try {
      if (carrier && this.carrier === carrier) action();
    } catch (error) {
      if (this.carrier === carrier) this.lose(error.message);
    }
  }
  drop() {
    clearTimeout(this.carrier?.timer);
    this.carrier?.pc.close();
    this.carrier = null;
  }
  lose(why) {
    say(`carrier ${this.carrier.generation} is lost: ${why}`);
    this.failures = this.carrier.isResumed ? 0 : this.failures + 1;
    this.drop();
    const wait = this.failures ? 1000 * Math.min(60, 2.5 * 2 ** this.failures) : 100;
    this.retry = setTimeout(() => this.offer('the present one is lost'), wait);
  }
  end(why) {
    say(`the session has ended: ${why}`);
    clearTimeout(this.retry);
    this.drop();
    process.stdout.write('', () => setTimeout(() => process.exit(0), 50));
  }
  put = (...fields) => this.carrier?.dc.sendMessageBinary(frame(...fields));

  // -- the first thing on a carrier
  resume(carrier) {
    carrier.isOpen = true;
    if (!this.key || carrier.isTold) return;
    carrier.isTold = true;
    const listed = [...this.streams.values()].map(({ id, received, fin, granted }) => join(...[id, received + fin, granted, 1].map(int)));
    const binding = bindingOf(carrier.own, carrier.theirs.sdp);
    carrier.proofOf = (who) => proof(this.key, who, this.id, carrier.generation, binding);
    this.put(RESUME, this.id, carrier.generation, carrier.proofOf('acceptor'), NO_PARAMETERS, int(listed.length), ...listed);
  }
  onHello(carrier, { session, key, parameters }) {
    if (session.toString('hex') !== this.signaling.session) refuse('a HELLO of another session');
    if (this.key && !crypto.timingSafeEqual(this.key, key)) refuse('a HELLO with another key');
    if (carrier.isResumed) this.useless(carrier);
    if (this.key) return;
    if (parameters.lowest > 2 || parameters.highest < 2) return this.close(3, Buffer.from([4, 1, 2, 2, 2]));
    Object.assign(this, { id: session, key });
    this.resume(carrier);
  }
  close(code, parameters = NO_PARAMETERS) {
    this.put(CLOSE, code, 0, parameters);
    this.isClosing = true;
    setTimeout(() => this.end(`closed with ${code}`), 250);
  }
  onResume(carrier, { session, generation, proof: given, parameters, positions }) {
    if (!this.key) return this.close(1);
    if (carrier.isResumed) refuse('a second RESUME');
    const isRight = session.equals(this.id) && generation === carrier.generation;
    if (!isRight || !crypto.timingSafeEqual(given, carrier.proofOf('initiator'))) refuse('a RESUME that proves nothing');
    clearTimeout(carrier.timer);
    Object.assign(carrier, { isResumed: true, longest: Math.min(carrier.theirs.longest, parameters.longest) });
    const listed = new Map(positions.map((position) => [position.stream, position]));
    for (const stream of this.streams.values()) {
      const position = listed.get(stream.id);
      if (!position) this.streams.delete(stream.id);
      else Object.assign(stream, { limit: Math.max(stream.limit, position.window), acked: this.acked(stream, position.received) });
      stream.next = stream.acked;
    }
    for (const id of listed.keys()) if (!this.streams.has(id) && this.wasOpened(id)) this.put(GONE, id);
  }

  // -- frames
  onMessage(carrier, bytes) {
    carrier.heardAt = Date.now();
    if (bytes.length === 0 || bytes.length > 65536) refuse('a message that is empty or too long');
    const reader = new StrictReader(bytes);
    for (let frames = 1; reader.at < bytes.length && this.carrier === carrier && !this.isClosing; frames++) {
      if (frames > 512) refuse('too many frames');
      this.onFrame(carrier, reader.frame());
    }
    if (this.carrier === carrier) this.pump();
  }
  useless(carrier) {
    if (++carrier.useless > 64 + 4 * this.highest) refuse('too many frames that change nothing');
  }
  wasOpened = (id) => id % 2 === 1 && id <= this.highest;
  onFrame(carrier, { type, stream: id, n, bytes, token, ...rest }) {
    if (type === HELLO) return this.onHello(carrier, rest);
    if (type === RESUME) return this.onResume(carrier, rest);
    if (!carrier.isResumed) refuse(`a frame of type ${type} before RESUME`);
    if (type >= 0x40) return;
    if (type === PING) return this.put(PONG, token);
    if (type === PONG || type === GONE) return this.useless(carrier);
    if (type === CLOSE) return this.end(`the peer closed it: ${n} ${bytes}`);
    if (type === OPEN) return this.onOpen(carrier, id, n, bytes);
    if (!this.wasOpened(id) || type === ACCEPT) refuse(`a frame of type ${type} for stream ${id}`);
    const stream = this.streams.get(id);
    if (type === RESET || !stream) {
      this.streams.delete(id);
      return [DATA, FIN, RESET].includes(type) ? this.put(GONE, id) : this.useless(carrier);
    }
    if (type === ACK) return this.onAck(carrier, stream, n);
    if (type === WINDOW) return n > stream.limit ? (stream.limit = n) : this.useless(carrier);
    if (type === DATA) return this.onData(carrier, stream, n, bytes);
    if (n !== stream.received) refuse('a FIN that is not where the bytes end');
    if (stream.fin) this.useless(carrier);
    Object.assign(stream, { fin: 1, isOwed: true });
  }
  onOpen(carrier, id, window, target) {
    if (id % 2 === 0 || target.length > 512) refuse(`an OPEN of stream ${id}`);
    const known = this.streams.get(id);
    if (known) return Object.assign(known, { limit: Math.max(known.limit, window), isOwed: true }, this.useless(carrier));
    if (id <= this.highest) return this.put(GONE, id);
    this.highest = id;
    const coming = { received: 0, fin: 0, granted: CREDIT, isOwed: true };
    this.streams.set(id, { id, ...coming, held: Buffer.alloc(0), acked: 0, next: 0, most: 0, limit: window });
    this.put(ACCEPT, id, CREDIT);
  }
  acked(stream, received) {
    if (received > stream.most) refuse('an ACK of what was never sent');
    const acked = Math.max(stream.acked, received);
    stream.held = stream.held.subarray(Math.min(acked - stream.acked, stream.held.length));
    return acked;
  }
  onAck(carrier, stream, received) {
    if (received <= stream.acked) this.useless(carrier);
    stream.acked = this.acked(stream, received);
    stream.next = Math.max(stream.next, stream.acked);
  }
  onData(carrier, stream, offset, bytes) {
    const end = offset + bytes.length;
    if (offset > stream.received || end > (stream.fin ? stream.received : stream.granted)) refuse('DATA where none may be');
    stream.isOwed = true;
    if (end <= stream.received) return this.useless(carrier);
    stream.held = join(stream.held, bytes.subarray(stream.received - offset));
    stream.received = end;
  }
  /** Says all that is due: ACK, WINDOW, the echo and its FIN. What came in is what goes out, so the two ends of a stream are one. */
  pump() {
    const { carrier } = this;
    if (!carrier?.isResumed || this.isClosing) return;
    for (const stream of this.streams.values()) {
      const { id } = stream;
      if (stream.isOwed) this.put(ACK, id, stream.received + stream.fin);
      stream.isOwed = false;
      while (stream.next < Math.min(stream.received, stream.limit) && carrier.dc.bufferedAmount() < 262144) {
        const most = Math.min(16384, carrier.longest - 32, stream.limit - stream.next);
        const bytes = stream.held.subarray(stream.next - stream.acked).subarray(0, most);
        this.put(DATA, id, stream.next, bytes.length, bytes);
        stream.next += bytes.length;
      }
      if (stream.fin && stream.next === stream.received) this.put(FIN, id, stream.next++);
      stream.most = Math.max(stream.most, stream.next);
      const granted = Math.min(stream.acked, stream.received) + CREDIT;
      if (!stream.fin && granted - stream.granted >= CREDIT / 4) this.put(WINDOW, id, (stream.granted = granted));
      if (stream.fin && stream.acked > stream.received) this.streams.delete(id);
    }
  }
  /** Loses a carrier on which an answer is due and nothing is heard (§9). */
  look() {
    const { carrier } = this;
    if (!carrier?.isResumed) return;
    if ([...this.streams.values()].every(({ acked, next }) => acked === next)) carrier.heardAt = Date.now(); // nothing is due
    const silence = Date.now() - carrier.heardAt;
    if (silence > 5000) this.guard(carrier, () => refuse('an answer is due, and nothing was heard for 5 s'));
    else if (silence > 1000) this.guard(carrier, () => this.put(PING, 1));
  }
}

new Acceptor();
