"use strict";
// An HTTP client for exactly one server, the Runtime API: one kept connection, one request at a time.
//
// The socket holds the process up only while an answer is due: an idle one must let the event loop run empty, as that is
// what a callback handler's response waits for.

const net = require("node:net");

const API = "/2018-06-01/runtime/";
const RECEIVE_SIZE = 65536;
const END_OF_HEAD = "\r\n\r\n";

class Client {
  constructor(address) {
    const colon = address.lastIndexOf(":");
    this.address = address;
    this.host = address.slice(0, colon);
    this.port = parseInt(address.slice(colon + 1), 10);
    this.common = ` HTTP/1.1\r\nHost: ${address}\r\nUser-Agent: coldframe-nodejs/${process.versions.node}\r\n`;
    this.socket = undefined;
    this.waiting = undefined;
    this.received = undefined;
  }

  /** A client with a connection of its own, for what cannot wait for the answer that is due on this one. */
  other() {
    return new Client(this.address);
  }

  /** Waits for the next invocation; `then` gets an error, or headers with names in lower case and the event as text. */
  next(then) {
    this.send("GET " + API + "invocation/next" + this.common + "\r\n", (failure, status, headers, body) => {
      if (!failure && status !== 200) {
        failure = new Error(`Failed to get next invocation, error ${status}`);
      }
      then(failure, headers, failure ? undefined : body.toString());
    });
  }

  /** Posts `body`. `then` gets an error if no answer came; a refusal is an answer. */
  post(path, headers, body, then) {
    const length = `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`;
    this.send("POST " + API + path + this.common + headers + length + body, then);
  }

  /** Begins a request whose body follows by `write`. Answers the head to write first. */
  stream(path, headers, then) {
    this.await(undefined, then);
    return "POST " + API + path + this.common + headers + "Transfer-Encoding: chunked\r\n\r\n";
  }

  send(request, then) {
    this.await(request, then);
    this.socket.write(request);
  }

  await(request, then) {
    const reused = this.socket !== undefined;
    if (!reused) {
      this.connect();
    }
    this.waiting = { then, request: reused ? request : undefined };
    this.received = undefined;
    this.socket.ref();
  }

  connect() {
    const buffer = Buffer.allocUnsafe(RECEIVE_SIZE);
    const socket = net.connect({
      host: this.host,
      port: this.port,
      // Without it the end of a large response may wait for the acknowledgement of its beginning.
      noDelay: true,
      onread: {
        buffer,
        callback: (count) => {
          this.take(buffer.subarray(0, count));
          return true;
        },
      },
    });
    socket.on("error", (error) => this.lost(socket, error));
    socket.on("close", () => this.lost(socket, new Error("the Runtime API closed the connection")));
    this.socket = socket;
  }

  /** Gives the connection up; the next request makes another. */
  close() {
    this.socket?.destroy();
    this.socket = undefined;
  }

  lost(socket, error) {
    if (socket !== this.socket) {
      return;
    }
    this.socket = undefined;
    socket.destroy();
    const waiting = this.waiting;
    if (waiting === undefined) {
      return;
    }
    if (waiting.request !== undefined && this.received === undefined) {
      // A server may close a connection that rests; nothing was answered, so nothing was done.
      this.send(waiting.request, waiting.then);
      return;
    }
    this.waiting = undefined;
    waiting.then(error);
  }

  take(bytes) {
    if (this.waiting === undefined) {
      return;
    }
    const answer = this.received ?? (this.received = new Answer());
    answer.take(bytes);
    if (!answer.complete) {
      return;
    }
    const { then } = this.waiting;
    this.waiting = undefined;
    if (answer.headers.connection?.toLowerCase() === "close") {
      this.close();
    } else {
      this.socket.unref();
    }
    then(undefined, answer.status, answer.headers, answer.body);
  }
}

/** What has come of an answer so far. Bytes are only valid during `take`, so what is kept is copied. */
class Answer {
  constructor() {
    this.complete = false;
    this.headers = undefined;
    this.rest = undefined;
  }

  take(bytes) {
    if (this.headers === undefined) {
      if (this.rest !== undefined) {
        bytes = Buffer.concat([this.rest, bytes]);
      }
      const end = bytes.indexOf(END_OF_HEAD);
      if (end < 0) {
        this.rest = Buffer.from(bytes);
        return;
      }
      this.rest = undefined;
      this.takeHead(bytes.utf8Slice(0, end));
      bytes = bytes.subarray(end + 4);
      if (this.status === 100) {
        this.headers = undefined;
        if (bytes.length > 0) {
          this.take(bytes);
        }
        return;
      }
    }
    if (this.chunked) {
      this.takeChunks(bytes);
      return;
    }
    if (this.filled === 0 && bytes.length >= this.length) {
      this.body = Buffer.from(bytes.subarray(0, this.length));
      this.complete = true;
      return;
    }
    this.body = this.body ?? Buffer.allocUnsafe(this.length);
    this.filled += bytes.copy(this.body, this.filled);
    this.complete = this.filled === this.length;
  }

  takeHead(head) {
    const lines = head.split("\r\n");
    const headers = {};
    for (let i = 1; i < lines.length; i++) {
      const line = lines[i];
      const colon = line.indexOf(":");
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.status = parseInt(lines[0].split(" ")[1], 10);
    this.headers = headers;
    this.chunked = headers["transfer-encoding"] !== undefined;
    this.length = parseInt(headers["content-length"] ?? "0", 10);
    this.filled = 0;
  }

  takeChunks(bytes) {
    let rest = this.rest === undefined ? Buffer.from(bytes) : Buffer.concat([this.rest, bytes]);
    this.chunks = this.chunks ?? [];
    for (;;) {
      const end = rest.indexOf("\r\n");
      if (end < 0) {
        break;
      }
      const size = parseInt(rest.latin1Slice(0, end), 16);
      if (size === 0) {
        // Trailers, if any, end at the first empty line.
        if (rest.indexOf(END_OF_HEAD, end) >= 0) {
          this.body = Buffer.concat(this.chunks);
          this.complete = true;
        }
        break;
      }
      if (rest.length < end + 4 + size) {
        break;
      }
      this.chunks.push(rest.subarray(end + 2, end + 2 + size));
      rest = rest.subarray(end + 4 + size);
    }
    this.rest = rest;
  }
}

module.exports = { Client };
