/** Which build each release needs, for those that were active or a canary since: NULL is what is installed on a machine. */
export const releaseBuilds = {
  id: 14,
  name: "release builds",
  sql: `
CREATE TABLE release_builds (
  release INTEGER PRIMARY KEY,
  build TEXT
) STRICT
--
INSERT INTO release_builds SELECT release, json_extract(needs, '$.build') FROM config
`,
};
