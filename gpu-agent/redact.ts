/** Takes out of text that leaves the machine what belongs to it alone: credentials, and where its folders are. */
import { homedir } from "node:os";

const SECRETS: readonly RegExp[] = [
  /\bpl[a-z]?_[A-Za-z0-9_-]{12,}/g,
  /\b(?:hf|ghp|gho|github_pat|civitai|sk|xoxb)[_-][A-Za-z0-9_-]{10,}/g,
  /\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+/g,
  /\bBearer\s+[^\s"']+/gi,
];
const NAMED_SECRET =
  /\b((?:[a-z0-9]+[_-])*(?:token|api[_-]?key|secret|password|passwd|authorization))(["']?\s*[=:]\s*["']?)[^\s"',;&]+/gi;
const URL_CREDENTIALS = /(\b[a-z][a-z0-9+.-]*:\/\/)[^/\s@]+@/gi;
const URL_QUERY = /(\bhttps?:\/\/[^\s?"']+)\?[^\s"']+/gi;

/**
 * Makes text fit for others' eyes.
 * @param folders absolute folders and the short name each is shown as
 */
export function redact(text: string, folders: Readonly<Record<string, string>> = {}): string {
  let result = text;
  for (const pattern of SECRETS) result = result.replace(pattern, "[redacted]");
  result = result
    .replace(NAMED_SECRET, "$1$2[redacted]")
    .replace(URL_CREDENTIALS, "$1[redacted]@")
    .replace(URL_QUERY, "$1?[redacted]");
  const known = { ...folders, [homedir()]: "~" };
  // The longest first, so that a folder inside another gets its own name.
  for (const folder of Object.keys(known).sort((a, b) => b.length - a.length)) {
    if (folder.length > 1) result = result.replaceAll(folder, known[folder] ?? "");
  }
  return result;
}
