/**
 * A smoothing spline through points, and its slope.
 *
 * P. Dierckx's algorithm (J. Comput. Appl. Math. 1, 1975; "Curve and surface fitting with splines",
 * 1993), the one behind `scipy.interpolate.splrep`: knots are added where residuals are largest until
 * a least-squares spline leaves no more than the allowed sum of squared residuals; jumps of the
 * highest derivative are then punished as far as that sum permits.
 */

const TOLERANCE = 0.001;
const ROUNDS = 20;
const [NEAR, FAR, SHRINK] = [0.1, 0.9, 0.04];

export interface Spline {
  knots: number[];
  coefficients: number[];
  degree: number;
}

/** The spline of `degree` whose squared residuals sum to `allowed`, or a polynomial with less. */
export function smoothingSpline(x: number[], y: number[], degree: number, allowed: number): Spline {
  const slack = allowed * TOLERANCE;
  const ends = [x[0], x[x.length - 1]];
  const plain = ends.flatMap((end) => Array<number>(degree + 1).fill(end));
  const polynomial = leastSquares(x, y, plain, degree);
  const first = polynomial.squares - allowed;
  if (first < slack) return { knots: plain, coefficients: polynomial.coefficients, degree };
  const { fit, knots, done } = chooseKnots(x, y, degree, allowed, polynomial);
  if (done) return { knots, coefficients: fit.coefficients, degree };
  return { knots, coefficients: penalised(y, knots, degree, allowed, fit, first), degree };
}

/** First derivative of a spline; the end polynomials go on beyond the ends. */
export function slope({ knots, coefficients, degree }: Spline, at: number): number {
  const differences = coefficients.slice(1).map((c, i) => {
    const width = knots[i + degree + 1] - knots[i + 1];
    return width > 0 ? (degree * (c - coefficients[i])) / width : 0;
  });
  const inner = knots.slice(1, -1);
  const span = spanOf(inner, degree - 1, at);
  return basis(inner, degree - 1, span, at).reduce(
    (sum, weight, i) => sum + weight * differences[span - degree + 1 + i], 0);
}

interface Fit {
  rows: Float64Array[]; // the triangular factor, a band of degree + 1
  right: Float64Array;
  coefficients: number[];
  residuals: number[]; // squared
  squares: number;
  spans: number[];
  weights: number[][];
}

function leastSquares(x: number[], y: number[], knots: number[], degree: number): Fit {
  const count = knots.length - degree - 1;
  const rows = Array.from({ length: count }, () => new Float64Array(degree + 2));
  const right = new Float64Array(count);
  const spans = x.map((value) => spanOf(knots, degree, value));
  const weights = x.map((value, i) => basis(knots, degree, spans[i], value));
  let squares = 0;
  x.forEach((_, i) => {
    const left = rotateIn(rows, right, Float64Array.from([...weights[i], 0]), y[i], spans[i] - degree);
    squares += left * left;
  });
  const coefficients = solve(rows, right);
  const residuals = residualsOf(y, coefficients, spans, weights);
  return { rows, right, coefficients, residuals, squares, spans, weights };
}

function residualsOf(y: number[], c: number[], spans: number[], weights: number[][]): number[] {
  return y.map((value, i) => {
    const start = spans[i] - weights[i].length + 1;
    return (weights[i].reduce((sum, w, j) => sum + w * c[start + j], 0) - value) ** 2;
  });
}

/** Givens rotations of a row of equations into the triangle; what is left of its right side. */
function rotateIn(
  rows: Float64Array[], right: Float64Array, row: Float64Array, value: number, start: number,
): number {
  const width = row.length;
  for (let at = start; at < rows.length; at++) {
    const pivot = row[0];
    if (pivot !== 0) {
      const [long, cos, sin] = givens(pivot, rows[at][0]);
      rows[at][0] = long;
      [value, right[at]] = [cos * value - sin * right[at], cos * right[at] + sin * value];
      for (let i = 1; i < width; i++) {
        [row[i], rows[at][i]] = [cos * row[i] - sin * rows[at][i], cos * rows[at][i] + sin * row[i]];
      }
    }
    row.copyWithin(0, 1);
    row[width - 1] = 0;
    if (row.every((v) => v === 0)) break;
  }
  return value;
}

function givens(pivot: number, diagonal: number): [number, number, number] {
  const long = Math.hypot(pivot, diagonal);
  return [long, diagonal / long, pivot / long];
}

function solve(rows: Float64Array[], right: Float64Array): number[] {
  const out = Array.from(right);
  for (let i = rows.length - 1; i >= 0; i--) {
    let value = right[i];
    for (let j = 1; j < rows[i].length && i + j < rows.length; j++) value -= rows[i][j] * out[i + j];
    out[i] = value / rows[i][0];
  }
  return out;
}

function chooseKnots(x: number[], y: number[], degree: number, allowed: number, start: Fit) {
  const most = x.length + degree + 1;
  const slack = allowed * TOLERANCE;
  let knots = [...Array<number>(degree + 1).fill(x[0]), ...Array<number>(degree + 1).fill(x[x.length - 1])];
  let fit = start;
  let before = 0;
  let added = 0;
  for (;;) {
    const over = fit.squares - allowed;
    if (Math.abs(over) < slack) return { fit, knots, done: true };
    if (over < 0) return { fit, knots, done: false };
    if (knots.length >= most) return { fit, knots, done: true };
    const gained = before - fit.squares;
    if (added === 0) added = 1;
    else {
      const wanted = gained > slack ? Math.trunc((added * over) / gained) : added * 2;
      added = Math.min(added * 2, Math.max(wanted, Math.trunc(added / 2), 1));
    }
    before = fit.squares;
    knots = addKnots(x, knots, degree, fit.residuals, added, most);
    fit = leastSquares(x, y, knots, degree);
  }
}

interface Interval {
  first: number; // index of the first point inside
  points: number; // strictly inside
  squares: number;
}

/** `count` more knots, each in the middle of the points of the interval with the largest residuals. */
function addKnots(
  x: number[], knots: number[], degree: number, residuals: number[], count: number, most: number,
): number[] {
  const inner = knots.slice(degree + 1, knots.length - degree - 1);
  const intervals = intervalsOf(x, inner, residuals);
  for (let n = 0; n < count; n++) {
    let best = -1;
    let largest = 0;
    intervals.forEach(({ points, squares }, i) => {
      if (points > 0 && squares > largest) [best, largest] = [i, squares];
    });
    if (best < 0) break;
    const { first, points } = intervals[best];
    const half = Math.trunc(points / 2); // points before the new knot
    inner.splice(best, 0, x[first + half]);
    intervals.splice(
      best, 1,
      { first, points: half, squares: (largest * half) / points },
      { first: first + half + 1, points: points - half - 1, squares: (largest * (points - half - 1)) / points },
    );
    if (inner.length + 2 * (degree + 1) >= most) {
      // as many as interpolation takes: all points but those next to the ends
      const skip = (degree + 1) / 2;
      inner.splice(0, inner.length, ...x.slice(skip, x.length - skip));
      break;
    }
  }
  return [...knots.slice(0, degree + 1), ...inner, ...knots.slice(-degree - 1)];
}

/** Residuals between knots; a point on a knot counts half to either side. Knots are points. */
function intervalsOf(x: number[], inner: number[], residuals: number[]): Interval[] {
  const intervals: Interval[] = [];
  let now: Interval = { first: 1, points: 0, squares: 0 };
  let next = 0;
  x.forEach((value, i) => {
    if (next < inner.length && value >= inner[next]) {
      const half = residuals[i] / 2;
      intervals.push({ ...now, squares: now.squares + residuals[i] - half });
      now = { first: i + 1, points: 0, squares: half };
      next++;
      return;
    }
    now.squares += residuals[i];
    if (i > 0 && i < x.length - 1) now.points++;
  });
  return [...intervals, now];
}

/** Coefficients with jumps punished by 1 / p; p is where the residuals sum to what is allowed. */
function penalised(
  y: number[], knots: number[], degree: number, allowed: number, fit: Fit, first: number,
): number[] {
  const slack = allowed * TOLERANCE;
  const jumps = jumpsOf(knots, degree);
  const evaluate = (p: number) => {
    const rows = fit.rows.map((row) => row.slice());
    const right = fit.right.slice();
    jumps.forEach((jump, i) => rotateIn(rows, right, jump.map((value) => value / p), 0, i));
    const coefficients = solve(rows, right);
    const squares = residualsOf(y, coefficients, fit.spans, fit.weights).reduce((a, b) => a + b, 0);
    return { coefficients, over: squares - allowed };
  };
  let [p1, f1] = [0, first];
  let [p3, f3] = [Infinity, fit.squares - allowed];
  let p = fit.rows.length / fit.rows.reduce((sum, row) => sum + row[0], 0);
  let [low, high] = [false, false]; // whether either end of the bracket is settled
  for (let round = 1; ; round++) {
    const { coefficients, over: f2 } = evaluate(p);
    if (Math.abs(f2) < slack || round === ROUNDS) return coefficients;
    const p2 = p;
    if (!high) {
      if (f2 - f3 <= slack) {
        [p3, f3] = [p2, f2];
        p *= SHRINK;
        if (p <= p1) p = p1 * FAR + p2 * NEAR;
        continue;
      }
      if (f2 < 0) high = true;
    }
    if (!low) {
      if (f1 - f2 <= slack) {
        [p1, f1] = [p2, f2];
        p /= SHRINK;
        if (p3 !== Infinity && p >= p3) p = p2 * NEAR + p3 * FAR;
        continue;
      }
      if (f2 > 0) low = true;
    }
    if (f2 >= f1 || f2 <= f3) return coefficients;
    p = rationalRoot(p1, f1, p2, f2, p3, f3);
    if (f2 < 0) [p3, f3] = [p2, f2];
    else [p1, f1] = [p2, f2];
  }
}

/** Where (u p + v) / (p + w) through three points is 0. */
function rationalRoot(p1: number, f1: number, p2: number, f2: number, p3: number, f3: number): number {
  if (p3 === Infinity) return (p1 * (f1 - f3) * f2 - p2 * (f2 - f3) * f1) / ((f1 - f2) * f3);
  const [h1, h2, h3] = [f1 * (f2 - f3), f2 * (f3 - f1), f3 * (f1 - f2)];
  return -(p1 * p2 * h3 + p2 * p3 * h1 + p3 * p1 * h2) / (p1 * h1 + p2 * h2 + p3 * h3);
}

/** Jumps of the highest derivative of each B-spline at the inner knots, in Dierckx's scale. */
function jumpsOf(knots: number[], degree: number): Float64Array[] {
  const n = knots.length;
  const pieces = n - 2 * degree - 1;
  const scale = ((knots[n - degree - 1] - knots[degree]) / pieces) ** degree;
  return Array.from({ length: pieces - 1 }, (_, row) => {
    const at = row + degree + 1;
    return Float64Array.from({ length: degree + 2 }, (_, column) => {
      const i = row + column;
      let product = 1;
      for (let s = 0; s <= degree + 1; s++) if (i + s !== at) product *= knots[at] - knots[i + s];
      return ((knots[i + degree + 1] - knots[i]) / product) * scale;
    });
  });
}

/** The index l with knots[l] <= at < knots[l + 1], kept within the base interval. */
function spanOf(knots: number[], degree: number, at: number): number {
  let span = degree;
  while (span < knots.length - degree - 2 && at >= knots[span + 1]) span++;
  return span;
}

/** The degree + 1 B-splines that are not 0 between the knots of a span (de Boor, Cox). */
function basis(knots: number[], degree: number, span: number, at: number): number[] {
  let values = [1];
  for (let d = 1; d <= degree; d++) {
    const next = Array<number>(d + 1).fill(0);
    values.forEach((value, i) => {
      const [left, right] = [knots[span - d + 1 + i], knots[span + 1 + i]];
      const share = right > left ? value / (right - left) : 0;
      next[i] += share * (right - at);
      next[i + 1] += share * (at - left);
    });
    values = next;
  }
  return values;
}
