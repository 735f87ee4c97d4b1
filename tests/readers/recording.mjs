// A second reader of recordings, written from docs/recording-format.md alone, with nothing but what node brings.
//
//   node recording.mjs FILE NODE_PUBLIC_KEY_HEX [DATA_KEYS_HEX]
//
// Prints one JSON object a line: the header, each event, the sums, and last {"verdict": ...}. Exit code 0: whole and
// signed; 3: not. Stops at the first fault. DATA_KEYS_HEX is output key and input key, 64 bytes.

import { createDecipheriv, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

// ---- BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), 32 bytes of output, no key

const IV = Uint32Array.of(
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8;

function compress(chain, words, counter, length, flags) {
  const v = new Uint32Array(16);
  v.set(chain);
  v.set(IV.subarray(0, 4), 8);
  v[12] = counter;
  v[13] = Math.floor(counter / 2 ** 32);
  v[14] = length;
  v[15] = flags;
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const mix = (a, b, c, d, x, y) => {
    v[a] = v[a] + v[b] + x; v[d] = turn(v[d] ^ v[a], 16);
    v[c] = v[c] + v[d]; v[b] = turn(v[b] ^ v[c], 12);
    v[a] = v[a] + v[b] + y; v[d] = turn(v[d] ^ v[a], 8);
    v[c] = v[c] + v[d]; v[b] = turn(v[b] ^ v[c], 7);
  };
  let m = words;
  for (let round = 0; round < 7; round++) {
    for (let i = 0; i < 4; i++) mix(i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1]);
    for (let i = 0; i < 4; i++) {
      mix(i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4), m[8 + 2 * i], m[9 + 2 * i]);
    }
    m = ORDER.map((place) => m[place]);
  }
  return v.subarray(0, 8).map((word, i) => word ^ v[8 + i]);
}

function wordsOf(bytes) {
  const padded = Buffer.alloc(64);
  bytes.copy(padded);
  return Array.from({ length: 16 }, (_, i) => padded.readUInt32LE(4 * i));
}

function chunk(bytes, counter, root) {
  let chain = IV;
  const blocks = Math.max(1, Math.ceil(bytes.length / 64));
  for (let i = 0; i < blocks; i++) {
    const block = bytes.subarray(64 * i, 64 * i + 64);
    const last = i === blocks - 1;
    const flags = (i === 0 ? CHUNK_START : 0) | (last ? CHUNK_END | root : 0);
    chain = compress(chain, wordsOf(block), counter, block.length, flags);
  }
  return chain;
}

function tree(bytes, counter, root) {
  if (bytes.length <= 1024) return chunk(bytes, counter, root);
  const chunks = Math.ceil(bytes.length / 1024);
  const left = 2 ** Math.floor(Math.log2(chunks - 1)); // the largest power of two that leaves something to the right
  const one = tree(bytes.subarray(0, 1024 * left), counter, 0);
  const other = tree(bytes.subarray(1024 * left), counter + left, 0);
  return compress(IV, [...one, ...other], 0, 64, PARENT | root);
}

function H(...parts) {
  const out = Buffer.alloc(32);
  tree(Buffer.concat(parts), 0, ROOT).forEach((word, i) => out.writeUInt32LE(word, 4 * i));
  return out;
}

// ---- CRC32, as zlib has it

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});
const crc32 = (bytes) => ~bytes.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), -1) >>> 0;

// ---- the format

const HEADER = 1, EVENTS = 2, END = 3, INPUT = 4, CHECKPOINT = 5, KEYS = 6;
const HEAD = 40, FOOT = 36, MOST = 16 * 2 ** 20;
const MAGIC = Buffer.from("89425245430d0a1a", "hex");

class Fault extends Error {}
const need = (right, text) => { if (!right) throw new Fault(text); };
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const text = (words) => Buffer.from(words, "latin1");

function isSigned(publicKey, signature, message) {
  const jwk = { kty: "OKP", crv: "Ed25519", x: publicKey.toString("base64url") };
  return verify(null, message, createPublicKey({ key: jwk, format: "jwk" }), signature);
}

function headAt(file, at, sync) {
  need(at + HEAD <= file.length, `byte ${at}: a head is cut off`);
  const raw = file.subarray(at, at + HEAD);
  need(raw.subarray(0, 8).equals(sync), `byte ${at}: no block of this file`);
  need(crc32(raw.subarray(0, 36)) === raw.readUInt32BE(36), `byte ${at}: the head has changed`);
  const head = {
    raw, type: raw[8], suite: raw[9], length: raw.readUInt32BE(12), sequence: raw.readUInt32BE(16),
    time: Number(raw.readBigUInt64BE(20)),
  };
  need(raw.readUInt16BE(10) === 0 && head.length <= MOST, `byte ${at}: an impossible head`);
  need(at + HEAD + head.length + FOOT <= file.length, `byte ${at}: block ${head.sequence} is cut off`);
  return head;
}

function decrypt(head, payload, keys) {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(head.type, 0);
  nonce.writeUInt32BE(head.sequence, 8);
  const key = keys.subarray(head.type === INPUT ? 32 : 0, head.type === INPUT ? 64 : 32);
  const cipher = createDecipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(head.raw);
  cipher.setAuthTag(payload.subarray(-16));
  return Buffer.concat([cipher.update(payload.subarray(0, -16)), cipher.final()]);
}

function printEvents(payload, time) {
  for (let at = 0; at < payload.length;) {
    need(at + 16 <= payload.length, "an event's head is cut off");
    const length = payload.readUInt32BE(at + 12);
    need(at + 16 + length <= payload.length, "an event is cut off");
    const body = payload.subarray(at + 16, at + 16 + length);
    print({
      kind: payload[at], side: payload[at + 1], stream: payload[at + 2], channel: payload.readUInt32BE(at + 4),
      time: time + payload.readUInt32BE(at + 8), payload: body.toString("base64"),
    });
    at += 16 + length;
  }
}

function read(file, nodeKey, keys) {
  need(file.length >= 24 && file.subarray(0, 8).equals(MAGIC), "not a recording");
  need(crc32(file.subarray(0, 20)) === file.readUInt32BE(20), "the preamble has changed");
  need(file.readUInt16BE(8) === 2 && file.readUInt16BE(10) === 0, "not of version 2");
  const sync = file.subarray(12, 20);
  let link = H(text("bastion recording 2 chain\0"), file.subarray(0, 24));
  let at = 24, expected = 0, ownUntil = 0, jumped = 0, seal = null, end = null, wrapped = null;
  while (at < file.length) {
    need(end === null, `byte ${at}: bytes behind the end`);
    const head = headAt(file, at, sync);
    const foot = at + HEAD + head.length;
    const payload = file.subarray(at + HEAD, foot);
    const digest = file.subarray(foot, foot + 32);
    need(H(head.raw, payload).equals(digest), `byte ${at}: block ${head.sequence} has changed`);
    need(file.readUInt32BE(foot + 32) === foot + FOOT - at, `byte ${at}: the size in the foot is wrong`);
    at = foot + FOOT;
    if (head.type === KEYS) {
      need(expected === 1 && wrapped === null, "a block of keys where none belongs");
      wrapped = JSON.parse(payload);
      print({ recipients: wrapped.recipients });
      continue;
    }
    need(head.sequence >= expected, `block ${head.sequence} where ${expected} should stand`);
    jumped += head.sequence - expected;
    expected = head.sequence + 1;
    need((head.type === HEADER) === (seal === null), `block ${head.sequence} is of the wrong type`);
    need(seal === null || seal.output === "" || wrapped !== null, "the block of the keys is missing");
    if (head.type === EVENTS || head.type === INPUT) {
      need(head.suite === seal.suite, `block ${head.sequence} is not of the header's suite`);
      if (head.suite === 1) printEvents(payload, head.time);
      else if (keys !== null) printEvents(decrypt(head, payload, keys), head.time);
    } else {
      need(payload.length >= 64, "a signed block is too short");
      const document = payload.subarray(64);
      const value = JSON.parse(document);
      let signer = nodeKey;
      if (head.type === HEADER) {
        seal = value.seal;
        const line = Buffer.from(seal.node_key.split(" ")[1], "base64");
        need(line.subarray(-32).equals(nodeKey), "the node's key is not known");
        print({ header: value });
      } else if (head.type === CHECKPOINT || !value.incomplete) {
        signer = Buffer.from(seal.public_key, "hex");
      }
      const message = Buffer.concat([text("bastion recording 2 signature\0"), link, head.raw, document]);
      need(isSigned(signer, payload.subarray(0, 64), message), `block ${head.sequence}: not what was signed`);
      need(jumped === 0 || head.type === END, "blocks are missing");
      if (head.type !== END) ownUntil = head.sequence;
      if (head.type === END) {
        end = value;
        need(jumped === 0 || (end.reason === "recorder_failed" && !end.incomplete), "blocks are missing");
        need(!end.incomplete || end.signed_until === ownUntil, "the recording signed another block last");
        print({ end });
      }
    }
    link = H(link, digest);
    if (seal !== null && seal.output !== "" && keys !== null && expected === 1) {
      const commitment = (key) => H(text("bastion recording 2 data key\0"), key).toString("hex");
      need(commitment(keys.subarray(0, 32)) === seal.output, "not the output key of this recording");
      need(commitment(keys.subarray(32, 64)) === seal.input, "not the input key of this recording");
    }
  }
  need(end !== null, "there is no end");
  return end.incomplete ? "incomplete" : "whole";
}

const [path, nodeKey, dataKeys] = process.argv.slice(2);
try {
  const keys = dataKeys ? Buffer.from(dataKeys, "hex") : null;
  print({ verdict: read(readFileSync(path), Buffer.from(nodeKey, "hex"), keys) });
} catch (error) {
  print({ verdict: "bad", fault: error.message });
  process.exitCode = 3;
}
