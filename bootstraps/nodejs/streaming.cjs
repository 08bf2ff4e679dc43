"use strict";
// Response streaming: the stream a streaming handler writes to. Loaded by streaming functions only.

const { Writable } = require("node:stream");
const { InvalidStreamingOperation, toBody } = require("./errors.cjs");

const PRELUDE_CONTENT_TYPE = "application/vnd.awslambda.http-integration-response";
const PRELUDE_END = new Uint8Array(8);

/** Writes go out as chunks of the request's body; the head goes with the first of them. */
class ResponseStream extends Writable {
  #client;
  #invocation;
  #contentType = "application/octet-stream";
  #begun = false;
  #opened = false;
  #closed = false;
  #trailers = "";
  #answered;
  #resolveAnswered;
  #rejectOver;

  constructor(client, invocation, highWaterMark) {
    super({ highWaterMark });
    this.#client = client;
    this.#invocation = invocation;
    this.#answered = new Promise((resolve) => (this.#resolveAnswered = resolve));
    // Settles when the platform has answered, or with the error when the function destroyed the stream before.
    const over = Promise.race([this.#answered, new Promise((_, reject) => (this.#rejectOver = reject))]);
    over.catch(() => {});
    Object.defineProperty(this, "over", { value: over });
    this._onBeforeFirstWrite = undefined;
    // The error of a destroyed stream is told to the platform; it must not be an uncaught one besides.
    this.on("error", () => {});
  }

  setContentType(contentType) {
    if (this.#begun) {
      throw new InvalidStreamingOperation("Cannot set content-type, too late.");
    }
    this.#contentType = contentType;
  }

  write(chunk, encoding, callback) {
    this.#begin();
    return super.write(asBytes(chunk), encoding, callback);
  }

  end(chunk, encoding, callback) {
    if (typeof chunk === "function") {
      [chunk, callback] = [undefined, chunk];
    } else if (typeof encoding === "function") {
      [encoding, callback] = [undefined, encoding];
    }
    if (!this.writableEnded && this.#trailers === "") {
      this.#begin();
    }
    return super.end(chunk === undefined || chunk === null ? chunk : asBytes(chunk), encoding, callback);
  }

  /** Ends the stream with an error: what was written stands, trailers say what happened. */
  fail(error, then) {
    const body = toBody(error);
    const type = String(body.errorType).replace(/[^\x20-\x7e]/g, "?");
    this.#trailers =
      `Lambda-Runtime-Function-Error-Type: ${type}\r\n` +
      `Lambda-Runtime-Function-Error-Body: ${Buffer.from(JSON.stringify(body)).toString("base64")}\r\n`;
    this.#answered.then(then);
    if (this.destroyed) {
      this.#close(() => {});
    } else {
      this.end();
    }
  }

  _write(chunk, _encoding, callback) {
    if (chunk.length === 0) {
      callback();
      return;
    }
    const head = this.#open() + chunk.length.toString(16) + "\r\n";
    const { socket } = this.#client;
    if (socket === undefined) {
      callback(new Error("the Runtime API closed the connection"));
      return;
    }
    // One system call for the three.
    socket.cork();
    socket.write(head);
    socket.write(chunk);
    socket.write("\r\n", callback);
    socket.uncork();
  }

  _final(callback) {
    this.#close(callback);
  }

  _destroy(error, callback) {
    if (!this.#closed) {
      this.#rejectOver(error ?? new Error("Response stream is not finished."));
    }
    callback(error);
  }

  /** The prelude, if there is one, goes before everything else. */
  #begin() {
    if (this.#begun) {
      return;
    }
    this.#begun = true;
    if (typeof this._onBeforeFirstWrite === "function") {
      this._onBeforeFirstWrite((chunk) => super.write(chunk));
    }
  }

  /** Begins the request. Answers the head if nothing was sent yet. */
  #open() {
    if (this.#opened) {
      return "";
    }
    this.#opened = true;
    const headers =
      `Content-Type: ${this.#contentType}\r\n` +
      "Lambda-Runtime-Function-Response-Mode: streaming\r\n" +
      "Trailer: Lambda-Runtime-Function-Error-Type\r\n" +
      "Trailer: Lambda-Runtime-Function-Error-Body\r\n" +
      this.#invocation.echo;
    return this.#client.stream(this.#invocation.path + "/response", headers, (failure, status) => {
      this.#resolveAnswered();
      if (!this.#closed) {
        // Nobody reads what is still to come, and the next request must not follow half of this one.
        this.#closed = true;
        this.#client.close();
        this.destroy(failure ?? new Error(`the Runtime API answered ${status} before the end of the response`));
      }
    });
  }

  #close(callback) {
    if (this.#closed) {
      callback();
      return;
    }
    const head = this.#open();
    this.#closed = true;
    this.#client.socket?.write(head + "0\r\n" + this.#trailers + "\r\n");
    callback();
  }
}

function asBytes(chunk) {
  return typeof chunk === "string" || chunk instanceof Uint8Array ? chunk : JSON.stringify(chunk);
}

class HttpResponseStream {
  /** Has `prelude`, the status code and headers of an HTTP response, sent before the first write to `stream`. */
  static from(stream, prelude) {
    stream.setContentType(PRELUDE_CONTENT_TYPE);
    const text = JSON.stringify(prelude);
    stream._onBeforeFirstWrite = (write) => {
      write(text);
      write(PRELUDE_END);
    };
    return stream;
  }
}

module.exports = { ResponseStream, HttpResponseStream };
