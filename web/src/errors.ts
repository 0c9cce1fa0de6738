/** A mistake in the input that a user can mend: what was found, what was expected, the remedy. */
export class UserError extends Error {
  constructor(message: string, readonly remedy = "") {
    super(remedy ? `${message}; ${remedy}` : message);
    this.name = "UserError";
  }
}

/** An error in words, for the page. */
export function inWords(error: unknown): string {
  if (error instanceof UserError) return error.message;
  if (error instanceof RangeError) return `not enough memory (${error.message}); use a smaller scan`;
  return `this is a fault of ours: ${error instanceof Error ? error.message : String(error)}`;
}
