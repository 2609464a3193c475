import { describe, expect, it } from "vitest";
import { TRACE_JOBS_MAX, TRACE_S_MAX } from "#durable-objects/autoscaler/replay/arrivals";
import { parseTrace, readTrace } from "#durable-objects/autoscaler/replay/trace-file";

const START_MS = Date.UTC(2026, 0, 5, 8);

describe("a trace file", () => {
  it("may name lanes and endpoints, and may come from a spreadsheet", () => {
    const trace = parseTrace("\uFEFFt, service_s ,endpoint,lane\r\n1,2,sdxl,batch\r\n3,4,flux,interactive\r\n");
    expect([...trace]).toEqual([
      ["sdxl", [{ t: 1, serviceS: 2, lane: "batch" }]],
      ["flux", [{ t: 3, serviceS: 4, lane: "interactive" }]],
    ]);
  });

  it.each([
    ["no header", "1,2\n3.5,4\n"],
    ["other names", "timestamp,duration_s\n1,2\n3.5,4\n"],
    ["capitals and quotes", '"T","Service_S"\n"1","2"\n"3.5","4"\n'],
    ["semicolons", "t;service_s\n1;2\n3.5;4\n"],
    ["tabs and an empty line before", "\nt\tservice_s\n1\t2\n3.5\t4\n"],
    ["milliseconds that say so", "t_ms,service_ms\n1000,2000\n3500,4000\n"],
    ["decimal commas between semicolons", "t;service_s\n1,0;2,0\n3,5;4\n"],
    ["decimal commas between semicolons, and no header", "1,0;2,0\n3,5;4\n"],
    ["carriage returns alone", "t,service_s\r1,2\r3.5,4\r"],
    ["comments", "# of last week\nt,service_s\n1,2\n# later\n3.5,4\n"],
    ["separators and quotes in quoted cells", 'prompt,t,service_s\n"a fox, ""red""",1,2\n"b;,c",3.5,4\n'],
    ["empty cells at the end of its lines", "t,service_s\n1,2,\n3.5,4,,\n"],
    ["empty cells at the end of its lines, and no header", "1,2,,\n3.5,4,\n"],
    ["lines that end before columns that nobody asked for", "t,service_s,tokens\n1,2\n3.5,4,\n"],
    ["an empty cell before the first tab", "model_size\tt\tservice_s\n\t1\t2\n\t3.5\t4\n"],
    ["exponents", "t,service_s\n1e0,.2E1\n35e-1,+4.\n"],
    ["columns that nobody asked for", "model,t,tokens,service_s\nx,1,9,2\nx,3.5,9,4\n"],
  ])("may have %s", (_, text) => {
    const { byEndpoint, startMs } = readTrace(text);
    expect([...byEndpoint.values()].flat()).toEqual([
      { t: 1, serviceS: 2, lane: "interactive" },
      { t: 3.5, serviceS: 4, lane: "interactive" },
    ]);
    expect(startMs).toBeNull();
  });

  it.each([
    ["ISO times", ["2026-01-05T08:00:02.500Z", "2026-01-05T08:00:00Z"]],
    ["ISO times of a zone", ["2026-01-05T09:00:02.5+01:00", "2026-01-05T09:00:00+01:00"]],
    ["times of PostgreSQL, whose zones are hours", ["2026-01-05 09:00:02.5+01", "2026-01-05 08:00:00+00"]],
    ["times of zones without a colon", ["2026-01-05T03:00:02.5-0500", "2026-01-05T03:00:00-0500"]],
    ["times of BigQuery", ["2026-01-05 08:00:02.500 UTC", "2026-01-05 08:00:00 UTC"]],
    ["times of a database, which are UTC", ["2026-01-05 08:00:02.5000000", "2026-01-05 08:00:00"]],
    ["Unix seconds", [String(START_MS / 1_000 + 2.5), String(START_MS / 1_000)]],
    ["Unix milliseconds", [String(START_MS + 2_500), String(START_MS)]],
    ["Unix microseconds", [`${START_MS + 2_500}000`, `${START_MS}000`]],
    ["Unix nanoseconds", [`${START_MS + 2_500}000000`, `${START_MS}000000`]],
  ])("counts %s from the earliest, and knows when that was", (_, [later, earlier]) => {
    for (const header of ["t,service_s\n", ""]) {
      const { byEndpoint, startMs } = readTrace(`${header}${later},2\n${earlier},4\n`);
      expect(byEndpoint.get("0")?.map(({ t, serviceS }) => [t, serviceS])).toEqual([
        [2.5, 2],
        [0, 4],
      ]);
      expect(startMs).toBe(START_MS);
    }
  });

  it("may write lanes as it likes", () => {
    const trace = parseTrace("t,service_s,lane\n1,2,Batch\n3,4,INTERACTIVE\n");
    expect(trace.get("0")?.map(({ lane }) => lane)).toEqual(["batch", "interactive"]);
  });

  it.each(["endpoint_id", "model", "app"])("may call its endpoints %s", (name) => {
    const trace = readTrace(`t,service_s,${name},tokens,\n1,2,x,9,\n3,4,y,9,\n`);
    expect([...trace.byEndpoint.keys()]).toEqual(["x", "y"]);
    expect([trace.endpointColumn, trace.unused]).toEqual([name, ["tokens"]]);
    expect(() => readTrace(`t,service_s,${name}\n1,2,`)).toThrow(`line 2: ${name} is empty`);
  });

  it("is one endpoint's where several columns may name endpoints, unless one is called so", () => {
    const unclear = readTrace("t,service_s,model,app\n1,2,x,z\n3,4,y,z\n");
    expect([...unclear.byEndpoint.keys()]).toEqual(["0"]);
    expect([unclear.endpointColumn, unclear.unused]).toEqual([null, ["model", "app"]]);
    const clear = readTrace("t,service_s,model,endpoint\n1,2,x,z\n3,4,y,z\n");
    expect([[...clear.byEndpoint.keys()], clear.endpointColumn]).toEqual([["z"], "endpoint"]);
  });

  it("that is none is refused with a part of it that a terminal can show", () => {
    const read = () => readTrace(`\u001b[31m${"x".repeat(99)},${"y,".repeat(99)}`);
    expect(read).toThrow(/not \?\[31mx{25}…, y, (?:y, )*…$/);
    expect(() => readTrace('t,service_s\n1,2\n"3,4\n5,6"\n')).toThrow("line 3: a quote is not closed");
  });

  it("may leave out how long jobs take where that is said beside it", () => {
    const services = (text: string) => [...readTrace(text, 7).byEndpoint.values()].flat().map((row) => row.serviceS);
    expect(services("t\n1\n2\n")).toEqual([7, 7]);
    expect(services("1\n2\n")).toEqual([7, 7]);
    expect(services("t,service_s\n1,\n2,3\n")).toEqual([7, 3]);
    expect(services("t,service_s\n1\n2,3\n")).toEqual([7, 3]);
    expect(services("1,\n2,3\n")).toEqual([7, 3]);
    expect(() => services("t\n0,5\n")).toThrow("line 2: it has 2 cells, the header has 1: numbers take");
  });

  it("without any job is empty", () => {
    for (const text of ["", "\n\n", "t,service_s\n"]) expect(parseTrace(text).size).toBe(0);
  });

  it.each([
    ["when,service_s\n1,2", "line 1: the header must name the columns t and service_s, not when, service_s"],
    ["t\n1", "line 1: the header must name the columns t and service_s, not t"],
    ["1\n2", "line 1: a second column must say how long the job takes"],
    ["t,service_s\n1,2\n1", "line 3: it has 1 cell, the header has 2: service_s is missing"],
    ["t,service_s\n1,2\n1,", 'line 3: service_s must be a number, 0 or more, not ""'],
    ["t,service_s\n1;2", "line 2: it has 1 cell, the header has 2: service_s is missing"],
    ["t,service_s,x,model\n1,2,3", "line 2: it has 3 cells, the header has 4: model is missing"],
    ["1,2,a,batch\n1,2,a", "line 2: it has 3 cells, the first line has 4: lane is missing"],
    [
      "t,service_s\n1,2\n0,5,8,3",
      "line 3: it has 4 cells, the header has 2: numbers take a decimal point or the columns ; between them, and text with a comma takes quotes",
    ],
    ["t,service_s,\n1,234.5,8", "line 2: it has 3 cells, the header has 2: numbers take a decimal point"],
    ["1,2\n1,234.5,8", "line 2: it has 3 cells, the first line has 2: numbers take a decimal point"],
    ["t;service_s\n1;2;3", "line 2: it has 3 cells, the header has 2: text with what separates columns takes quotes"],
    ["1,2,a,batch,9", "line 1: it has 5 cells, and without a header there are 4 at most: t, service_s, endpoint, lane"],
    ["t,service_s\n1,0x10", 'line 2: service_s must be a number, 0 or more, not "0x10"'],
    ["t,service_s\n0b11,2", /line 2: t must be a number, 0 or more, or .*, not "0b11"/],
    ["t,service_s\n1,1e999", 'line 2: service_s must be a number, 0 or more, not "1e999"'],
    ["t,service_s\n-1,2", 'line 2: t must be a number, 0 or more, or a time like 2026-01-05T08:00:00Z, not "-1"'],
    [
      "t,service_s\n5/1/2026 8:00,2",
      'line 2: t must be a number, 0 or more, or a time like 2026-01-05T08:00:00Z, not "5/1/2026 8:00"',
    ],
    [
      "t,service_s\n2026-13-45,2",
      'line 2: t must be a number, 0 or more, or a time like 2026-01-05T08:00:00Z, not "2026-13-45"',
    ],
    [
      "t,service_s\n2026-02-30,2",
      'line 2: t must be a number, 0 or more, or a time like 2026-01-05T08:00:00Z, not "2026-02-30"',
    ],
    ["t,service_s\n1,NaN", 'line 2: service_s must be a number, 0 or more, not "NaN"'],
    ["t,service_s,lane\n1,2,slow", 'line 2: lane must be interactive or batch, not "slow"'],
    ["t,service_s,endpoint\n1,2,", "line 2: endpoint is empty"],
    ["t,service_s\n2e7,2", `line 2: t is 20000000 s, more than ${TRACE_S_MAX} s; a column t_ms is read as ms`],
    ["t,service_s\n1,2e7", `line 2: service_s is 20000000 s, more than ${TRACE_S_MAX} s`],
    ["t,service_s\n2026-01-05,2\n5,2", "line 3: t is of another kind than in the lines before"],
    [
      "t,service_s\n2020-01-05,2\n2026-01-05,2",
      /line 3: t is 189388800 s after the first job, more than [0-9]+ s: replay a part of it/,
    ],
    [`t,service_s${"\n".repeat(TRACE_JOBS_MAX + 5)}`, `it has more than ${TRACE_JOBS_MAX} jobs: replay a part of it`],
  ])("is refused with the place and the reason, case %#", (text, expected) => {
    expect(() => parseTrace(text)).toThrow(expected);
  });
});
