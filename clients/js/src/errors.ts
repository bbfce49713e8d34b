// The error class of this package. Invariant: a numeric code comes from the gateway; a word is an error of
// the client.

/** The code of an error that occurred in the client. */
export type LocalCode =
  | 'offline' // there was no connection, and none was made in time
  | 'timeout' // a request was not answered in time
  | 'lost' // the connection was lost before the answer to a request
  | 'full' // the outbox has reached its limit
  | 'closed' // the client was closed
  | 'storage' // the storage adapter failed
  | 'handler' // a handler of the application threw
  | 'protocol'; // the gateway sent something that this client does not understand

/**
 * A code of the gateway (400, 401, 403, 404, 409, 413, 429, 500, 503), or the code of an error in the client.
 */
export type ErrorCode = number | LocalCode;

export class MynahError extends Error {
  override readonly name = 'MynahError';
  readonly code: ErrorCode;
  /** The original exception, if this error only wraps one. */
  readonly cause?: unknown;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message);
    this.code = code;
    if (cause !== undefined) this.cause = cause;
  }
}

/** Whether the same request may succeed later. */
export function isTemporary(error: unknown): boolean {
  if (!(error instanceof MynahError)) return false;
  const { code } = error;
  return code === 401 || code === 429 || code === 500 || code === 503 || code === 'offline' || code === 'timeout' || code === 'lost';
}

/** The message of anything that was thrown. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
