import type { SimulatedDatabase } from "../simulated-database.ts";
import { promise } from "../violation.ts";
import type { PodSimulation } from "./pod-simulation.ts";

interface Row {
  readonly id: string;
  readonly endpoint_id: string;
  readonly node_id: string;
  readonly slot: number;
  readonly state: string;
  readonly draining: number;
  readonly reported: number;
}

/** What must hold of a pod's rows: after each turn, and when everything has come to rest. */
export class PodChecks {
  readonly #world: PodSimulation;
  readonly #database: SimulatedDatabase;
  #before = new Map<string, Row>();
  /** Every replica that ever was, and where: it is never anywhere else. */
  readonly #everAt = new Map<string, string>();

  constructor(world: PodSimulation, database: SimulatedDatabase) {
    this.#world = world;
    this.#database = database;
  }

  /** States of all replicas, each once. */
  states(): ReadonlySet<string> {
    return new Set(this.#rows().map(({ state, draining }) => (draining === 1 ? "draining" : state)));
  }

  #rows(): Row[] {
    return this.#database.look("SELECT * FROM replicas ORDER BY id") as unknown as Row[];
  }

  afterTurn(): void {
    const rows = this.#rows();
    const now = new Map(rows.map((row) => [row.id, row]));
    const slots = new Set(rows.map(({ node_id, slot }) => `${node_id}/${slot}`));
    promise("I11", slots.size === rows.length, () => "two replicas hold one slot");
    const nodes = new Map(
      this.#database.look("SELECT id, slots, online, cordoned FROM nodes").map((row) => [String(row.id), row]),
    );
    for (const row of rows) {
      const place = `${row.node_id}/${row.slot}`;
      const known = this.#everAt.get(row.id) ?? place;
      const isBack = this.#everAt.has(row.id);
      promise("I11", known === place, () => `${row.id} moved from ${known} to ${place}`);
      this.#everAt.set(row.id, place);
      const node = nodes.get(row.node_id);
      promise("I11", node !== undefined, () => `${row.id} is on a node that there is not`);
      const before = this.#before.get(row.id);
      if (before === undefined && isBack) this.#checkReturned(row);
      // What a cordoned node runs goes on; nothing new begins there.
      if (before === undefined) this.#checkNew(row, rows, Number(node?.slots ?? 0), node?.cordoned === 1 && !isBack);
      promise("I11", before?.draining !== 1 || row.draining === 1, () => `${row.id} was taken back while it drains`);
      promise("I11", before?.reported !== 1 || row.reported === 1, () => `${row.id} was unreported again`);
    }
    this.#checkTrust();
    for (const [id, row] of this.#before) if (!now.has(id)) this.#checkEnded(id, row);
    this.#before = now;
    this.#checkCapacity();
  }

  /** The figures that an operator reads fit together, at any moment. */
  #checkCapacity(): void {
    const { nodes, slots, replicas, endpoints } = this.#world.capacity();
    const isNodes = nodes.open <= nodes.online && nodes.online <= nodes.total;
    promise("I11", isNodes, () => `nodes do not add up: ${JSON.stringify(nodes)}`);
    const isSlots = slots.taken + slots.free <= slots.total && slots.draining <= slots.taken;
    promise("I11", isSlots, () => `slots do not add up: ${JSON.stringify(slots)}`);
    for (const [state, count] of Object.entries(replicas)) {
      const sum = endpoints.reduce((all, each) => all + each.replicas[state as keyof typeof replicas], 0);
      promise("I11", sum === count, () => `${count} replicas are ${state}, of the endpoints' ${sum}`);
    }
    for (const { endpoint_id, wanted, have, trials, waits_since } of endpoints) {
      const lacks = have < wanted || trials > 0;
      const said = () => `${endpoint_id} has ${have} of ${wanted}, waits since ${waits_since}`;
      promise("I11", lacks === (waits_since !== null), said);
    }
  }

  /** Nobody is called a liar who never lied, whatever the network did to what he said. */
  #checkTrust(): void {
    for (const { id, trust } of this.#database.look("SELECT id, trust FROM nodes WHERE trust IS NOT NULL")) {
      const { quarantine } = JSON.parse(String(trust)) as { quarantine: { since: number; reason: string } | null };
      if (quarantine?.since !== this.#world.now) continue;
      const kind = /died here|came back|offers|never given|cards changed/.exec(quarantine.reason)?.[0] ?? "unknown";
      this.#world.hit(`quarantine: ${kind}`);
      if (kind === "died here" || kind === "came back") continue;
      const node = this.#world.nodes.find((each) => each.id === id);
      promise("L1", node === undefined || node.hasLied, () => `${node?.name} is honest: ${quarantine.reason}`);
    }
  }

  #checkNew(row: Row, rows: readonly Row[], slots: number, cordoned: boolean): void {
    promise("I11", row.slot >= 0 && row.slot < slots, () => `${row.id} is on slot ${row.slot} of ${slots}`);
    promise("I11", !cordoned, () => `${row.id} was placed on a cordoned node`);
    const [pod] = this.#database.look("SELECT settings FROM pod");
    const settings = JSON.parse(String(pod?.settings ?? "{}")) as { settings?: { containers_max: number | null } };
    const max = settings.settings?.containers_max ?? null;
    promise("I20", max === null || rows.length <= max, () => `${rows.length} replicas in ${max} containers`);
    const [demand] = this.#database.look("SELECT wanted, trials FROM demands WHERE endpoint_id = ?", row.endpoint_id);
    const trials = (JSON.parse(String(demand?.trials ?? "[]")) as unknown[]).length;
    const mine = rows.filter((each) => each.endpoint_id === row.endpoint_id && each.draining === 0).length;
    const isWanted = mine <= Number(demand?.wanted ?? 0);
    promise("I11", isWanted || trials > 0, () => `${mine} replicas for ${demand?.wanted} wanted`);
  }

  /** One that was given up is there again only with the machine that runs it, and it never stopped. */
  #checkReturned(row: Row): void {
    this.#world.hit("replica taken up");
    const node = this.#world.nodes.find(({ id }) => id === row.node_id);
    const runs = node?.running.get(row.id as never)?.state ?? "nothing";
    // What a dead agent said may be on its way for a while.
    const mayBeOld = node?.hasLied === true || this.#world.faults.late > 0;
    promise(
      "I11",
      mayBeOld || !["nothing", "crashed", "stopped"].includes(runs),
      () => `${row.id} was taken up: ${runs}`,
    );
    const [farewell] = this.#database.look("SELECT endpoint_id FROM farewells WHERE replica_id = ?", row.id);
    promise("I13", farewell === undefined, () => `${row.id} was taken up, and its end is still told`);
  }

  /** Who is no more has said goodbye to its endpoint, or is about to. */
  #checkEnded(id: string, row: Row): void {
    const [farewell] = this.#database.look("SELECT endpoint_id FROM farewells WHERE replica_id = ?", id);
    promise("I11", farewell?.endpoint_id === row.endpoint_id, () => `${id} ended without a farewell`);
  }

  /** What is shown, what is stored, what the machines run and what the endpoints know is one and the same. */
  atRest(): void {
    const { nodes, endpoints } = this.#world;
    const rows = this.#rows();
    for (const node of nodes.filter(({ isWell }) => isWell)) {
      const placed = rows.filter(({ node_id }) => node_id === node.id).map(({ id, slot }) => `${id}@${slot}`);
      const runs = node.alive.map(({ replica_id, slot }) => `${replica_id}@${slot}`);
      promise("I11", same(placed, runs), () => `${node.name} runs ${runs.join(" ")}, and should ${placed.join(" ")}`);
      promise("I11", same(runs, [...new Set(runs)]), () => `${node.name} runs something twice`);
    }
    const ids = new Set(nodes.map(({ id }) => id));
    for (const row of rows) {
      promise("I11", ids.has(row.node_id as never), () => `${row.id} is on a machine that is not there`);
      promise("I11", row.reported === 1, () => `${row.id} was never started`);
    }
    const [left] = this.#database.look("SELECT count(*) AS count FROM farewells");
    promise("I13", left?.count === 0, () => `${left?.count} endpoints have not heard of an end`);
    for (const endpoint of endpoints) {
      promise("I13", endpoint.isAnswered, () => `${endpoint.id} was not answered`);
      const placed = rows.filter(({ endpoint_id }) => endpoint_id === endpoint.id);
      const known = [...endpoint.known];
      promise(
        "I11",
        same(
          placed.map(({ id }) => id),
          known,
        ),
        () => `${endpoint.id} knows ${known.join(" ")}, the pod ${placed.map(({ id }) => id).join(" ")}`,
      );
      const have = placed.filter(({ draining }) => draining === 0).length;
      promise("I11", have <= endpoint.wanted, () => `${endpoint.id} has ${have} and wants ${endpoint.wanted}`);
      promise(
        "I11",
        have === endpoint.wanted || this.#isFull(),
        () => `${endpoint.id} has ${have} of ${endpoint.wanted}, and a slot is free`,
      );
    }
    const shown = this.#world
      .listed()
      .flatMap(({ id, slots }) =>
        slots.flatMap(({ slot, replica_id }) => (replica_id === null ? [] : [`${id}/${slot}/${replica_id}`])),
      );
    const stored = rows.map(({ id, node_id, slot }) => `${node_id}/${slot}/${id}`);
    promise("I11", same(shown, stored), () => `${shown.length} slots are shown as taken, ${stored.length} are`);
    this.#checkCounted(rows);
  }

  /** The figures that an operator reads are those of the rows and of the machines. By then all that are listed are trusted. */
  #checkCounted(rows: readonly Row[]): void {
    const { nodes, slots, replicas, endpoints } = this.#world.capacity();
    const listed = this.#world.listed();
    const online = listed.filter((node) => node.online);
    const open = online.filter(({ unused_because }) => unused_because === null);
    const figures = [nodes.total, nodes.online, nodes.open, slots.total, slots.taken, replicas.total];
    const sizes = (some: typeof online) => some.reduce((sum, node) => sum + node.slots.length, 0);
    const counted = [listed.length, online.length, open.length, sizes(online), rows.length, rows.length];
    promise("I11", String(figures) === String(counted), () => `the pod says ${figures}, there are ${counted}`);
    promise("I11", slots.free === 0 || !this.#isFull(), () => `${slots.free} slots are said to be free`);
    for (const { endpoint_id, have } of endpoints) {
      const mine = rows.filter((row) => row.endpoint_id === endpoint_id && row.draining === 0).length;
      promise("I11", have === mine, () => `${endpoint_id} is said to have ${have}, and has ${mine}`);
    }
  }

  /** No slot that anybody could use is free, or no container. By then every pause and quarantine is over. */
  #isFull(): boolean {
    const [settings] = this.#database.look("SELECT settings FROM pod");
    const stored = JSON.parse(String(settings?.settings)) as { settings: { containers_max: number | null } };
    const max = stored.settings.containers_max;
    if (max !== null && this.#rows().length >= max) return true;
    const { gpu_types } = this.#world.settings;
    return this.#world
      .listed()
      .filter(({ online, gpu_type }) => online && (gpu_types.length === 0 || gpu_types.includes(gpu_type ?? "")))
      .every(({ slots }) => slots.every(({ replica_id }) => replica_id !== null));
  }

  /** Nobody wants anything: nothing runs, nothing is stored, every slot is free. */
  atNothing(): void {
    const rows = this.#rows();
    promise("I11", rows.length === 0, () => `${rows.length} replicas are left, of ${rows[0]?.endpoint_id}`);
    for (const node of this.#world.nodes.filter(({ isWell }) => isWell)) {
      promise("I11", node.alive.length === 0, () => `${node.name} still runs ${JSON.stringify(node.alive)}`);
    }
    const [left] = this.#database.look("SELECT count(*) AS count FROM farewells");
    promise("I13", left?.count === 0, () => "an endpoint has not heard of an end");
    const { slots, containers_left, endpoints_total } = this.#world.capacity();
    promise("I11", endpoints_total === 0 && slots.taken === 0, () => `${slots.taken} slots are said to be taken`);
    const open = this.#world.listed().filter((node) => node.online && node.unused_because === null);
    const empty = open.reduce((sum, node) => sum + node.slots.length, 0);
    const free = Math.min(empty, containers_left ?? empty);
    promise("I11", slots.free === free, () => `${slots.free} slots are said to be free, ${free} are`);
  }
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return JSON.stringify(a.toSorted()) === JSON.stringify(b.toSorted());
}
