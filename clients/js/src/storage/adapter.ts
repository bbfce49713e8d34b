// Where a client keeps what must survive a restart of the application: strings by key. Invariant: this interface is all that is
// asked of a place; what is kept there is the notebook's business.

/** A place for strings. Each call may answer at once or with a promise; a `set` that has resolved must survive a restart. */
export interface StorageAdapter {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): void | Promise<void>;
  remove(key: string): void | Promise<void>;
}

/** Keeps everything in memory: it is gone with the process. */
export function memoryStorage(kept: Map<string, string> = new Map()): StorageAdapter {
  return {
    get: (key) => kept.get(key),
    set: (key, value) => void kept.set(key, value),
    remove: (key) => void kept.delete(key),
  };
}

/** As much as is needed of `localStorage`, `sessionStorage`, or React Native's AsyncStorage. */
export interface ItemStore {
  getItem(key: string): string | null | Promise<string | null>;
  setItem(key: string, value: string): void | Promise<void>;
  removeItem(key: string): void | Promise<void>;
}

export function itemStorage(store: ItemStore): StorageAdapter {
  return {
    get: (key) => store.getItem(key),
    set: (key, value) => store.setItem(key, value),
    remove: (key) => store.removeItem(key),
  };
}
