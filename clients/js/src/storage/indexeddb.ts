// A storage in IndexedDB. Invariant: a call resolves when its transaction is complete, not when its request
// succeeded.

import type { StorageAdapter } from './adapter.js';

/** The part of IndexedDB that is used. */
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

/** A storage in the database `name`, which is created if it does not exist. */
export function indexedDbStorage({ name = 'mynah', indexedDB }: { name?: string; indexedDB?: IndexedDb } = {}): StorageAdapter {
  const factory = indexedDB ?? (globalThis as { indexedDB?: IndexedDb }).indexedDB;
  if (!factory) throw new Error('This JavaScript host has no IndexedDB: use another storage adapter.');
  let database: Promise<Database> | undefined;

  const run = async <T>(mode: 'readonly' | 'readwrite', act: (store: Store) => Request<T>): Promise<T> => {
    // If the database cannot be opened, the next call tries again.
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
