/** Verdicts on scans and masks, kept while the page is open and saved as one file. */

import { tsv } from "../measure/tables";

export type Verdict = "pass" | "fail" | "unsure";

export interface Review {
  scan: string;
  masks: string[];
  verdict: Verdict;
  comment: string;
  reviewer: string;
  date: string; // ISO 8601
}

export class Reviews {
  private readonly kept = new Map<string, Review>();
  unsaved = false; // whether a verdict was kept since the last file

  get count(): number {
    return this.kept.size;
  }

  get(scan: string): Review | undefined {
    return this.kept.get(scan);
  }

  /** Keep a verdict; a later one on the same scan replaces it. */
  keep(review: Review): void {
    this.kept.set(review.scan, review);
    this.unsaved = true;
  }

  /** All of them, as tab-separated text; they count as saved then. */
  toTsv(): string {
    this.unsaved = false;
    const rows = [...this.kept.values()].map((r) => [
      r.scan, r.masks.join(", "), r.verdict, r.comment, r.reviewer, r.date,
    ]);
    return tsv(["scan", "masks", "verdict", "comment", "reviewer", "date"], rows);
  }
}
