/** Releases in the catalog, and which of them was active when. Numbers of an endpoint's releases have no gaps. */
import { and, asc, desc, eq, getTableColumns, lt, ne, notInArray, type SQL, sql } from "drizzle-orm";
import * as z from "zod";
import { SmokeTest } from "#contract/build";
import { parseExactJson, stringifyExactJson } from "#contract/exact-json";
import { EndpointId } from "#contract/ids";
import { InputSpec, OutputSpec, Overrides } from "#contract/workflow";
import { activations, endpoints, releaseSources, releases } from "#migrations/catalog/schema";
import { catalogOf } from "#worker/catalog/database";

export interface ReleaseRow {
  readonly endpointId: EndpointId;
  readonly number: number;
  readonly digest: string;
  readonly graph: string;
  readonly inputs: InputSpec[];
  readonly outputs: OutputSpec[];
  readonly classes: string[];
  readonly warnings: string[];
  /** Exact JSON text, or null. */
  readonly objectInfo: string | null;
  /** What it was imported with. */
  readonly overrides: Overrides;
  /** Digest of its build, or null. */
  readonly build: string | null;
  readonly smokeTest: SmokeTest | null;
  readonly createdAt: number;
}

/** A release without its large texts: what lists show and what checking a job's inputs needs. */
export type ReleaseSummary = Omit<ReleaseRow, "graph" | "objectInfo" | "overrides" | "smokeTest">;

/** What one was imported from, in parts that fit into rows. */
export interface PackedSource {
  /** `deflate` parts are base64 of the deflated text. */
  readonly encoding: "text" | "deflate";
  readonly parts: readonly string[];
}

/** A release that is to be written. */
export interface NewRelease {
  readonly row: ReleaseRow;
  readonly source: PackedSource;
}

/** Why a release became the active one. */
export type ActivationCause = "deploy" | "activate" | "rollback";

/** So many activations of an endpoint are remembered: a rollback further back names its release. */
export const ACTIVATIONS_KEPT_MAX = 100;

const StringList = z.array(z.string());
const Inputs = z.array(InputSpec);
const Outputs = z.array(OutputSpec);

const {
  graph: _graph,
  objectInfo: _objectInfo,
  overrides: _overrides,
  smokeTest: _smokeTest,
  ...columns
} = getTableColumns(releases);
/** A page or a cache of whole releases, a megabyte each, would not fit into a Worker's memory. */
export const summaryColumns = columns;

/** A release's row, as read. */
export function releaseRow(row: typeof releases.$inferSelect): ReleaseRow {
  const { graph, objectInfo, overrides, smokeTest } = row;
  return {
    ...releaseSummary(row),
    graph,
    objectInfo,
    overrides: Overrides.parse(parseExactJson(overrides)),
    smokeTest: smokeTest === null ? null : SmokeTest.parse(parseExactJson(smokeTest)),
  };
}

/** The columns of {@link summaryColumns}, as read. */
export function releaseSummary(
  row: Omit<typeof releases.$inferSelect, "graph" | "objectInfo" | "overrides" | "smokeTest">,
): ReleaseSummary {
  return {
    endpointId: EndpointId.parse(row.endpointId),
    number: row.number,
    digest: row.digest,
    inputs: Inputs.parse(parseExactJson(row.inputs)),
    outputs: Outputs.parse(parseExactJson(row.outputs)),
    classes: StringList.parse(parseExactJson(row.classes)),
    warnings: StringList.parse(parseExactJson(row.warnings)),
    build: row.build,
    createdAt: row.createdAt,
  };
}

/** What is written for a release. */
export function releaseValues(row: ReleaseRow): typeof releases.$inferInsert {
  return {
    ...row,
    inputs: stringifyExactJson(row.inputs),
    outputs: stringifyExactJson(row.outputs),
    classes: stringifyExactJson(row.classes),
    warnings: stringifyExactJson(row.warnings),
    overrides: stringifyExactJson(row.overrides),
    smokeTest: row.smokeTest === null ? null : stringifyExactJson(row.smokeTest),
  };
}

/** Bytes the release's columns take together; D1 refuses a row above 2 MB. */
export function releaseBytes(row: ReleaseRow): number {
  const values = releaseValues(row);
  const { graph, inputs, outputs, classes, warnings, overrides, objectInfo, smokeTest } = values;
  const encoder = new TextEncoder();
  return [graph, inputs, outputs, classes, warnings, overrides ?? "", objectInfo ?? "", smokeTest ?? ""]
    .map((text) => encoder.encode(text).byteLength)
    .reduce((sum, bytes) => sum + bytes, 0);
}

/** The source of a release in its parts; undefined for a release from before sources were kept. */
export async function findSource(
  database: D1Database,
  endpointId: EndpointId,
  number: number,
): Promise<PackedSource | undefined> {
  const rows = await catalogOf(database)
    .select({ encoding: releaseSources.encoding, content: releaseSources.content })
    .from(releaseSources)
    .where(and(eq(releaseSources.endpointId, endpointId), eq(releaseSources.number, number)))
    .orderBy(asc(releaseSources.part));
  const [first] = rows;
  return first === undefined ? undefined : { encoding: first.encoding, parts: rows.map(({ content }) => content) };
}

/** A release without its large texts. */
export async function findReleaseSummary(
  database: D1Database,
  endpointId: EndpointId,
  number: number,
): Promise<ReleaseSummary | undefined> {
  const [row] = await catalogOf(database)
    .select(summaryColumns)
    .from(releases)
    .where(and(eq(releases.endpointId, endpointId), eq(releases.number, number)));
  return row === undefined ? undefined : releaseSummary(row);
}

/** Statements that write a release and its source where `still` holds of its endpoint. */
export function insertedRelease(database: D1Database, { row, source }: NewRelease, still: SQL | undefined) {
  const catalog = catalogOf(database);
  const insert = catalog.insert(releases).select(catalog.select(releaseSelection(row)).from(endpoints).where(still));
  const parts = source.parts.map((content, part) =>
    catalog.insert(releaseSources).select(
      catalog
        .select({
          endpointId: sql`${row.endpointId}`.as("endpoint_id"),
          number: sql`${row.number}`.as("number"),
          part: sql`${part}`.as("part"),
          encoding: sql`${source.encoding}`.as("encoding"),
          content: sql`${content}`.as("content"),
        })
        .from(endpoints)
        .where(still),
    ),
  );
  return [insert, ...parts] as const;
}

/** Releases of an endpoint, newest first. @param before only those with lower numbers */
export async function selectReleases(
  database: D1Database,
  endpointId: EndpointId,
  before: number | undefined,
  limit: number,
): Promise<ReleaseSummary[]> {
  const rows = await catalogOf(database)
    .select(summaryColumns)
    .from(releases)
    .where(and(eq(releases.endpointId, endpointId), before === undefined ? undefined : lt(releases.number, before)))
    .orderBy(desc(releases.number))
    .limit(limit);
  return rows.map(releaseSummary);
}

/**
 * The release that was active before `active` was activated; a rollback to it does not count as an activation, so that
 * rollbacks one after the other go further and further back.
 * @returns undefined when there was none, or when it is too long ago to be known
 */
export async function findReplaced(
  database: D1Database,
  endpointId: EndpointId,
  active: number,
): Promise<number | undefined> {
  const [row] = await catalogOf(database)
    .select({ replaced: activations.replaced })
    .from(activations)
    .where(
      and(eq(activations.endpointId, endpointId), eq(activations.release, active), ne(activations.cause, "rollback")),
    )
    .orderBy(desc(activations.version))
    .limit(1);
  return row?.replaced ?? undefined;
}

/** The release that the endpoint's last activation rolled back to, if it was a rollback since `at`, Unix ms. */
export async function rolledBackSince(
  database: D1Database,
  endpointId: EndpointId,
  at: number,
): Promise<number | undefined> {
  const [last] = await catalogOf(database)
    .select()
    .from(activations)
    .where(eq(activations.endpointId, endpointId))
    .orderBy(desc(activations.version))
    .limit(1);
  return last?.cause === "rollback" && last.at >= at ? last.release : undefined;
}

export interface Activation {
  readonly endpointId: EndpointId;
  /** The endpoint's version once it is done. */
  readonly version: number;
  readonly release: number;
  readonly replaced: number | null;
  readonly cause: ActivationCause;
  readonly at: number;
}

/**
 * Statements that note an activation where `still` holds of the endpoint, and forget the oldest; for a batch with the
 * change itself, before it.
 */
export function notedActivation(database: D1Database, noted: Activation, still: SQL | undefined) {
  const catalog = catalogOf(database);
  const insert = catalog.insert(activations).select(
    catalog
      .select({
        endpointId: sql`${noted.endpointId}`.as("endpoint_id"),
        version: sql`${noted.version}`.as("version"),
        release: sql`${noted.release}`.as("release"),
        replaced: sql`${noted.replaced}`.as("replaced"),
        cause: sql`${noted.cause}`.as("cause"),
        at: sql`${noted.at}`.as("at"),
      })
      .from(endpoints)
      .where(still),
  );
  const kept = catalog
    .select({ version: activations.version })
    .from(activations)
    .where(eq(activations.endpointId, noted.endpointId))
    .orderBy(desc(activations.version))
    .limit(ACTIVATIONS_KEPT_MAX);
  const forget = catalog
    .delete(activations)
    .where(and(eq(activations.endpointId, noted.endpointId), notInArray(activations.version, kept)));
  return [insert, forget] as const;
}

/** As an INSERT's SELECT: the release's row, for an INSERT that happens only where a condition holds. */
function releaseSelection(row: ReleaseRow) {
  const values = releaseValues(row);
  return {
    endpointId: sql`${values.endpointId}`.as("endpoint_id"),
    number: sql`${values.number}`.as("number"),
    digest: sql`${values.digest}`.as("digest"),
    graph: sql`${values.graph}`.as("graph"),
    inputs: sql`${values.inputs}`.as("inputs"),
    outputs: sql`${values.outputs}`.as("outputs"),
    classes: sql`${values.classes}`.as("classes"),
    warnings: sql`${values.warnings}`.as("warnings"),
    objectInfo: sql`${values.objectInfo ?? null}`.as("object_info"),
    overrides: sql`${values.overrides ?? "{}"}`.as("overrides"),
    build: sql`${values.build ?? null}`.as("build"),
    smokeTest: sql`${values.smokeTest ?? null}`.as("smoke_test"),
    createdAt: sql`${values.createdAt}`.as("created_at"),
  };
}
