// A value that tells those who watch it when it changes.

export interface Store<T> {
  get(): T;
  set(value: T): void;
  /** Calls back at each change; the answer stops that. */
  watch(listener: (value: T) => void): () => void;
}

export function store<T>(value: T): Store<T> {
  const listeners = new Set<(value: T) => void>();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const listener of [...listeners]) listener(next);
    },
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
