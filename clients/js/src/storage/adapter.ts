// Storage for the state that must survive a restart of the application: strings by key. Invariant: the client
// uses only this interface; `SavedState` decides what is stored.

/**
 * A store of strings. Each call may return at once or return a promise. A value must survive once `set` has
 * resolved.
 */
export interface StorageAdapter {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): void | Promise<void>;
  remove(key: string): void | Promise<void>;
}

/** A storage in memory, which ends with the process. */
export function memoryStorage(kept: Map<string, string> = new Map()): StorageAdapter {
  return {
    get: (key) => kept.get(key),
    set: (key, value) => void kept.set(key, value),
    remove: (key) => void kept.delete(key),
  };
}

/** The part of `localStorage`, `sessionStorage` and React Native's AsyncStorage that is used. */
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
