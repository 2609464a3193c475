import { Problem, type ProblemCode } from "#contract/problems";

/** True for a thrown problem of that code. */
export function isProblem(error: unknown, code: ProblemCode): boolean {
  return error instanceof Problem && error.code === code;
}
