// Event handlers. Invariant: a handler that throws does not affect other handlers. The exception is reported
// as the event 'error'; an 'error' without a handler is logged to the console.

import { MynahError, textOf } from './errors.js';
import { logError } from './host.js';

/**
 * The return value of a handler: a promise is awaited for the events that say so; any other value is ignored.
 */
export type Handled = unknown;

type Handler<E, K extends keyof E> = (value: E[K]) => Handled;

export class Emitter<E extends { error: MynahError }> {
  #handlers = new Map<keyof E, Handler<E, keyof E>[]>();
  #awaited = new Map<keyof E, (() => void)[]>();

  /** Adds a handler. Returns a function that removes it. */
  on<K extends keyof E>(event: K, handler: (value: E[K]) => Handled): () => void {
    const list = this.#handlers.get(event) ?? [];
    // The cast is safe: the handlers of an event are only called with the value of that event.
    const entry = ((value: E[K]) => handler(value)) as Handler<E, keyof E>;
    this.#handlers.set(event, [...list, entry]);
    for (const settle of this.#awaited.get(event) ?? []) settle();
    this.#awaited.delete(event);
    return () => {
      this.#handlers.set(event, (this.#handlers.get(event) ?? []).filter((other) => other !== entry));
    };
  }

  has(event: keyof E): boolean {
    return (this.#handlers.get(event)?.length ?? 0) > 0;
  }

  /** Resolves as soon as `event` has a handler. */
  async handled(event: keyof E): Promise<void> {
    if (this.has(event)) return;
    await new Promise<void>((resolve) => this.#awaited.set(event, [...(this.#awaited.get(event) ?? []), resolve]));
  }

  /** Calls all handlers and resolves when the last of them has finished. */
  async emit<K extends keyof E>(event: K, value: E[K]): Promise<void> {
    const list = this.#handlers.get(event) ?? [];
    if (event === 'error' && list.length === 0) logError(value);
    const running: Promise<void>[] = [];
    for (const handler of list) {
      try {
        const handled = handler(value);
        if (isPromise(handled)) running.push(Promise.resolve(handled).then(() => undefined, (thrown: unknown) => this.#report(event, thrown)));
      } catch (thrown) {
        this.#report(event, thrown);
      }
    }
    if (running.length > 0) await Promise.all(running);
  }

  #report(event: keyof E, thrown: unknown): void {
    if (event === 'error') logError(thrown);
    else void this.emit('error', new MynahError('handler', `A handler of '${String(event)}' threw: ${textOf(thrown)}`, thrown));
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
