/** One call into a machine at once and, its commit done, what it asks of the outside. */
export type Turn<Machine> = <T>(work: (machine: Machine) => T) => T;
