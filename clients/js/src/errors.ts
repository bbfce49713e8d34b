// What can go wrong, as a value with a code. Invariant: a number is what the gateway answered, a word is what happened here.

/** What happened on this side. */
export type LocalCode =
  | 'offline' // not connected, and waiting was not wanted or took too long
  | 'timeout' // asked, and not answered in time
  | 'lost' // asked, and the connection ended before the answer
  | 'full' // the outbox holds as many messages as it may
  | 'closed' // the client was closed
  | 'storage' // the storage adapter failed
  | 'handler' // a handler of the application's threw
  | 'protocol'; // the gateway said something that this client does not understand

/** What the gateway answered (400, 401, 403, 404, 409, 413, 429, 500, 503), or what happened here. */
export type ErrorCode = number | LocalCode;

export class MynahError extends Error {
  override readonly name = 'MynahError';
  readonly code: ErrorCode;
  /** What was thrown, where this error only reports it. */
  readonly cause?: unknown;

  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message);
    this.code = code;
    if (cause !== undefined) this.cause = cause;
  }
}

/** Whether the same question may be answered otherwise later. */
export function isTemporary(error: unknown): boolean {
  if (!(error instanceof MynahError)) return false;
  const { code } = error;
  return code === 401 || code === 429 || code === 500 || code === 503 || code === 'offline' || code === 'timeout' || code === 'lost';
}

/** The text of whatever was thrown. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
