import { crc32, deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { phaseAfter, progressLine } from "#cli/follow-job";
import { nearestWord } from "#cli/nearest-word";
import { Output } from "#cli/output";
import { checkPng } from "#cli/png-check";
import { byteSize, duration, textTable } from "#cli/text-table";

describe("the word that was meant", () => {
  it.each([
    ["dpeloy", "deploy"],
    ["deply", "deploy"],
    ["jbos", "jobs"],
    ["endpoint", "endpoints"],
    ["sch", "schema"],
    ["xyzzy", undefined],
    ["", undefined],
  ])("%s: %s", (typed, expected) => {
    expect(nearestWord(typed, ["deploy", "jobs", "run", "endpoints", "schema"])).toBe(expected);
  });
});

describe("text of others", () => {
  it("is shown and never obeyed by a terminal", () => {
    let text = "";
    const sink = { write: (piece: string) => (text += piece), columns: 80 };
    const output = new Output({ stdout: sink, stderr: sink, format: "text", animate: true, quiet: false });
    const evil = "a\u001b[2J\u0007\r\u009b1m\u202eb";
    const error = {
      code: "internal",
      message: evil,
      hint: evil,
      exitCode: 1,
      errors: [{ path: "/a", reason: evil }],
    } as const;
    output.say(evil);
    output.note(evil);
    output.succeed("test", { data: null, text: [evil] });
    output.fail("test", error);
    expect(text).not.toMatch(/[^\n\u0020-\u007e]/);
    expect(text.split("\n")[0]).toBe("a\\u001b[2J\\u0007\\u000d\\u009b1m\\u202eb");
    text = "";
    output.progress(evil, "phase");
    expect(text.replace("\r\u001b[2K", "")).not.toMatch(/[^\u0020-\u007e]/);
  });

  it("takes no row of a table for itself", () => {
    expect(textTable(["a", "b"], [["x\ny\tz", "1"]])).toEqual(["A      B", "x y z  1"]);
  });
});

describe("a progress line", () => {
  const event = (type: string, data: Record<string, unknown> = {}) => ({ seq: null, type, data: data as never });

  it("shows the place in the queue, then node and steps", () => {
    expect(progressLine("queued", event("progress", { position: 3 }))).toBe("queued #3");
    const running = { fraction: 0.7, class_type: "KSampler", step: 14, steps: 20, nodes_done: 3, nodes_total: 7 };
    expect(progressLine("executing", event("progress", running))).toBe(
      "executing KSampler 14/20 ██████████████       70 %",
    );
    expect(progressLine("executing", event("preview"))).toBeNull();
  });

  it("follows the phases", () => {
    expect(phaseAfter("queued", event("started"))).toBe("assigned");
    expect(phaseAfter("assigned", event("phase", { phase: "executing" }))).toBe("executing");
    expect(phaseAfter("executing", event("progress"))).toBe("executing");
    expect(phaseAfter("executing", event("retrying"))).toBe("retrying");
  });

  it("is rewritten in place on a terminal and printed once for each phase elsewhere", () => {
    const written = (animate: boolean) => {
      let text = "";
      const sink = { write: (piece: string) => (text += piece), columns: 40 };
      const output = new Output({ stdout: sink, stderr: sink, format: "text", animate, quiet: false });
      for (const [line, phase] of [
        ["a 1", "a"],
        ["a 2", "a"],
        ["b 1", "b"],
      ] as const)
        output.progress(line, phase);
      output.say("done");
      return text;
    };
    expect(written(true)).toBe("\r\u001b[2Ka 1\r\u001b[2Ka 2\r\u001b[2Kb 1\r\u001b[2Kdone\n");
    expect(written(false)).toBe("a 1\nb 1\ndone\n");
  });
});

describe("tables and units", () => {
  it("align by characters", () => {
    expect(
      textTable(
        ["a", "name"],
        [
          ["1", "grün"],
          ["22", ""],
        ],
      ),
    ).toEqual(["A   NAME", "1   grün", "22"]);
  });
  it("are read by people", () => {
    expect([duration(850), duration(12_340), duration(245_000)]).toEqual(["850 ms", "12.3 s", "4 min 5 s"]);
    expect([byteSize(512), byteSize(3_141_592), byteSize(0)]).toEqual(["512 B", "3.14 MB", "0 B"]);
  });
});

describe("a PNG", () => {
  const chunk = (type: string, data: Buffer) => {
    const typed = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(typed));
    return Buffer.concat([length, typed, sum]);
  };
  const png = (rows = 2) => {
    const header = Buffer.from([0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 0]);
    const pixels = deflateSync(Buffer.alloc(rows * (1 + 3 * 3)));
    const signature = Buffer.from("89504e470d0a1a0a", "hex");
    return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]);
  };

  it("that is whole has its size", () => {
    expect(checkPng(png())).toEqual({ width: 3, height: 2 });
  });

  it("that is cut off anywhere is refused", () => {
    const whole = png();
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => checkPng(whole.subarray(0, length)), `cut at ${length}`).toThrow();
    }
  });

  it("with one changed byte or a missing row is refused", () => {
    for (let at = 0; at < png().length; at += 1) {
      const changed = png();
      changed.writeUInt8(changed.readUInt8(at) ^ 0x10, at);
      expect(() => checkPng(changed), `byte ${at}`).toThrow();
    }
    expect(() => checkPng(png(1))).toThrow("bytes, not");
  });
});
