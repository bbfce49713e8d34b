// Keeps strings in IndexedDB. Invariant: a call resolves when its transaction is complete, not when its request succeeded.

import type { StorageAdapter } from './adapter.js';

/** As much of IndexedDB as is used; a browser's own fits. */
export interface IndexedDb {
  open(name: string, version: number): OpenRequest;
}

interface Request<T> {
  readonly result: T;
  readonly error: unknown;
  onsuccess: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
}

interface OpenRequest extends Request<Database> {
  onupgradeneeded: ((event: never) => unknown) | null;
}

interface Database {
  createObjectStore(name: string): unknown;
  transaction(store: string, mode: 'readonly' | 'readwrite'): Transaction;
}

interface Transaction {
  readonly error: unknown;
  objectStore(name: string): Store;
  oncomplete: ((event: never) => unknown) | null;
  onabort: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
}

interface Store {
  get(key: string): Request<unknown>;
  put(value: string, key: string): Request<unknown>;
  delete(key: string): Request<unknown>;
}

const STORE = 'mynah';

/** A database called `name`, made when it is not there. */
export function indexedDbStorage({ name = 'mynah', indexedDB }: { name?: string; indexedDB?: IndexedDb } = {}): StorageAdapter {
  const factory = indexedDB ?? (globalThis as { indexedDB?: IndexedDb }).indexedDB;
  if (!factory) throw new Error('There is no IndexedDB here: use another storage adapter.');
  let database: Promise<Database> | undefined;

  const run = async <T>(mode: 'readonly' | 'readwrite', act: (store: Store) => Request<T>): Promise<T> => {
    // A database that did not open is opened again by the next call.
    database ??= open(factory, name).catch((error: unknown) => {
      database = undefined;
      throw error;
    });
    const transaction = (await database).transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
    });
    return request.result;
  };

  return {
    async get(key) {
      const value = await run('readonly', (store) => store.get(key));
      return typeof value === 'string' ? value : undefined;
    },
    async set(key, value) {
      await run('readwrite', (store) => store.put(value, key));
    },
    async remove(key) {
      await run('readwrite', (store) => store.delete(key));
    },
  };
}

function open(factory: IndexedDb, name: string): Promise<Database> {
  const request = factory.open(name, 1);
  return new Promise((resolve, reject) => {
    request.onupgradeneeded = () => void request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
