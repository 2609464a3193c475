/** Fills a queue quickly, in batches of a thousand. */
import { Connection } from "#bench/load/connection";
import type { Product } from "#bench/product/product";
import { nextJob } from "#bench/subject";
import { BATCH_JOBS_MAX } from "#contract/limits";

/** More at once gain nothing: the object takes one batch after the other. */
const CONNECTIONS = 4;
const SAY_EVERY = 100_000;

/** Puts so many jobs into an endpoint's queue, in the lane of ordinary submits. */
export async function fillQueue(
  product: Product,
  slug: string,
  jobs: number,
  say: (line: string) => void,
): Promise<void> {
  const { url, credentials } = product.stack;
  let left = jobs;
  const fill = async (): Promise<void> => {
    const connection = await Connection.open(url);
    while (left > 0) {
      const size = Math.min(BATCH_JOBS_MAX, left);
      left -= size;
      const inputs = Array.from({ length: size }, () => ({ color: nextJob() % 16_777_216 }));
      const answer = await connection.send({
        method: "POST",
        path: `/v1/endpoints/${slug}/batches`,
        headers: { authorization: `Bearer ${credentials.key}`, "content-type": "application/json" },
        body: JSON.stringify({ inputs, lane: "interactive" }),
      });
      if (answer.status !== 202) throw new Error(`a batch was answered ${answer.status} ${answer.body.toString()}`);
      if (Math.floor((left + size) / SAY_EVERY) !== Math.floor(left / SAY_EVERY)) {
        say(`filling ${slug}: ${left.toLocaleString("en")} of ${jobs.toLocaleString("en")} jobs to go`);
      }
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, fill));
}
