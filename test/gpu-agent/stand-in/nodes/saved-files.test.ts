import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { planSave, saveFile, tempSuffix } from "#gpu-agent/stand-in/nodes/saved-files";
import { temporaryFolders } from "./temporary-folders.ts";

let temporary = temporaryFolders();
beforeEach(() => {
  temporary = temporaryFolders();
});
afterEach(() => temporary.remove());

const noon = new Date(2026, 2, 4, 5, 6, 7);

describe("the name of a saved file", () => {
  it("counts from one and goes on from the highest there is", async () => {
    const { output } = temporary.folders;
    for (const name of ["x_00002_.png", "x_00041_.webp", "x_y_00099_.png", "x_.png"])
      writeFileSync(path.join(output, name), "");
    expect((await planSave("x", output)).counter).toBe(42);
    expect((await planSave("new", output)).counter).toBe(1);
  });

  it("splits folders off the prefix and makes them", async () => {
    const { output } = temporary.folders;
    const plan = await planSave("jobs/7/picture", output);
    expect(plan).toMatchObject({ subfolder: "jobs/7", name: "picture", counter: 1 });
    expect(await saveFile(plan, 0, "png", "output", Buffer.from("x"))).toEqual({
      filename: "picture_00001_.png",
      subfolder: "jobs/7",
      type: "output",
    });
    expect((await planSave("jobs/7/picture", output)).counter).toBe(2);
  });

  it("fills in size, date and time", async () => {
    const { output } = temporary.folders;
    const prefix = "%width%x%height%/%year%-%month%-%day%_%hour%%minute%%second%";
    const plan = await planSave(prefix, output, { width: 64, height: 32 }, noon);
    expect(plan).toMatchObject({ subfolder: "64x32", name: "2026-03-04_050607" });
  });

  it("numbers the pictures of a batch where the prefix says so", async () => {
    const plan = await planSave("b%batch_num%", temporary.folders.output);
    expect((await saveFile(plan, 2, "png", "output", Buffer.alloc(0))).filename).toBe("b2_00003_.png");
  });

  it.each(["../outside", "/etc/x", "a/../../b"])("refuses to leave the output folder: %s", async (prefix) => {
    const { output } = temporary.folders;
    const refused = planSave(prefix, output);
    await expect(refused).rejects.toMatchObject({ type: "Exception" });
    await expect(refused).rejects.toThrow(
      `**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: ${path.resolve(output, path.posix.dirname(prefix))}\n         output_dir: ${output}\n         commonpath: `,
    );
  });

  it("does not take a folder whose name only begins alike for the output folder", async () => {
    mkdirSync(`${temporary.folders.output}-other`);
    await expect(planSave("../output-other/x", temporary.folders.output)).rejects.toMatchObject({ type: "Exception" });
  });

  it("stays inside the output folder whatever the prefix", async () => {
    const { output } = temporary.folders;
    const part = fc.constantFrom("..", ".", "", "a", "b c", "%width%", "x_00009_", "é");
    await fc.assert(
      fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 6 }), async (parts) => {
        const plan = await planSave(parts.join("/"), output).catch(() => undefined);
        if (plan === undefined) return true;
        return plan.folder === output || plan.folder.startsWith(`${output}/`);
      }),
      { numRuns: 200 },
    );
  });
});

describe("the name of a temporary file", () => {
  it("has five letters that a node keeps and others do not share", () => {
    expect(tempSuffix("5")).toMatch(/^_temp_[a-z]{5}$/);
    expect(tempSuffix("5")).toBe(tempSuffix("5"));
    expect(new Set(["1", "2", "3", "4:1"].map(tempSuffix)).size).toBe(4);
  });
});
