import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import * as p from './peer.mjs';
const v = JSON.parse(readFileSync(process.argv[2] ?? new URL('../../../docs/vectors.json', import.meta.url)));
const hex = (s) => Buffer.from(s, 'hex');
let n = 0; const eq = (a, b) => (n++, assert.equal(Buffer.isBuffer(a) ? a.toString('hex') : a, b));
const fails = (f, what) => { n++; let r; try { r = f(); } catch { return; } assert.fail(`not refused: ${what} ${r}`); };
for (const { value, bytes } of v.integers) { eq(p.int(value), bytes); eq(new p.Reader(hex(bytes)).int(), value); }
for (const b of v['integers refused']) fails(() => new p.Reader(hex(b)).int(), b);
for (const f of v.frames) { const r = new p.Reader(hex(f.bytes)); const g = r.frame(); eq(r.at, f.bytes.length / 2);
  if (f.parameters) { eq(g.parameters.highest, f.parameters.highest_version); eq(g.parameters.credit, f.parameters.initial_credit_bytes); eq(g.parameters.longest, f.parameters.max_message_bytes); }
  if (f.positions) eq(JSON.stringify(g.positions.map((x) => [x.stream, x.received, x.window, x.flags === 1])), JSON.stringify(f.positions.map((x) => [x.stream_id, x.received, x.window, x.is_accepted])));
  if (f.offset !== undefined) eq(g.n, f.offset);
  if (f.payload !== undefined) { eq(g.bytes, f.payload); eq(p.frame(4, f.stream_id, f.offset, f.payload.length / 2, hex(f.payload)), f.bytes); } }
for (const b of v.skipped) { const r = new p.Reader(hex(b)); assert.ok(r.frame().skipped); }
for (const b of v.refused) { if (b.length > 100) continue; fails(() => { const r = new p.Reader(hex(b)); do r.frame(); while (r.at < r.bytes.length); }, b); }
const sdp = (c) => `a=fingerprint:sha-256 ${c.toUpperCase().match(/../g).join(':')}\r\n`;
eq(p.bindingOf(...v.binding.certificates.map(sdp)), v.binding.bytes);
for (const x of v.proofs) eq(p.proof(hex(x.key), x.by, hex(x.session_id), x.generation, hex(x.binding)), x.bytes);
for (const t of v.tickets ?? []) { const r = p.readTicket(t.text, 1.8e9); eq(r.id, t.ticket_id); eq(r.gateway, t.gateway_key); eq(r.secret, t.secret); console.log(r.url.href); }
for (const t of v['tickets with white space'] ?? []) eq(p.readTicket(t.text, 1.8e9).id, p.readTicket(t['read as'], 1.8e9).id.toString('hex'));
for (const [k, t] of Object.entries(v['tickets refused']?.texts ?? {})) fails(() => p.readTicket(t, 1.8e9), k);
if (v.handshake) { const h = v.handshake, k = h.private_keys;
  const a = p.handshake(hex(h.public_keys.gateway), p.keyPair(hex(k.client)), h.knock.payload, p.keyPair(hex(k.client_ephemeral)));
  eq(a.envelope, h.knock.envelope); eq(a.tag, h.welcome.envelope.slice(2, 10));
  for (const [name, e] of Object.entries(h)) if (/refused/.test(name) && !/knock/.test(name)) for (const [w, b] of Object.entries(e)) fails(() => { const x = hex(typeof b === 'string' ? b : b.envelope); if (x[0] !== 0x22 || !x.subarray(1, 5).equals(a.tag)) throw 0; return JSON.stringify(a.answer(x, hex(h.welcome.pre_shared_key)).inside); }, name + ': ' + w);
  eq(JSON.stringify(a.answer(hex(h.refusal.envelope), Buffer.alloc(32)).inside), h.refusal.payload);
  const w = a.answer(hex(h.welcome.envelope), hex(h.welcome.pre_shared_key)); eq(JSON.stringify(w.inside), h.welcome.payload);
  eq(w.keys.hash, h.handshake_hash); eq(w.keys.toGateway, h.client_to_gateway_key); eq(w.keys.toClient, h.gateway_to_client_key);
  for (const d of v.data.envelopes) if (d.by === 'client') eq(p.sealData(w.keys, d.body), d.envelope); else eq(p.openData(w.keys, hex(d.envelope)), d.body);
  for (const [what, b] of Object.entries(v.data['then refused by the client'] ?? {})) fails(() => { const x = hex(b); if (!w.keys.tag.equals(x.subarray(1, 5))) throw 0; return p.openData(w.keys, x); }, what);
}
console.log(`${n} checks passed`); process.exit(0);
