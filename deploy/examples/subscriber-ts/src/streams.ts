/**
 * Order within (family, subject): facts are numbered 1, 2, 3, so a reader never has to trust. It applies the next, drops the
 * old (delivery is at least once), keeps the early until the missing one comes, and holds a stream in which two facts stand
 * under one number until it is told which of the two to leave out. Numbers are counted over all types: one that is not read still
 * takes its place.
 */

interface Numbered {
  family: string;
  subject: string;
  number: number;
  id: string;
}

/** A number that has not come, though `kept` later ones have. */
export interface Gap {
  family: string;
  subject: string;
  missing: number;
  kept: number;
}

/** Two facts under one number: nothing of this stream is applied any more, until one of them is left out. */
export interface Fork {
  family: string;
  subject: string;
  number: number;
  ids: [string, string];
}

interface Stream<F> {
  last: number;
  lastId: string;
  early: Map<number, F>;
  /** What came under a number another fact has, in the order in which it came: the first of them is a fork. */
  others: F[];
}

/** Every stream one reader hears. */
export class Streams<F extends Numbered> {
  readonly #streams = new Map<string, Stream<F>>();
  readonly #leftOut = new Set<string>();
  /** Facts dropped because they had been applied before. */
  old = 0;

  /** What may be applied now, in order. */
  take(fact: F): F[] {
    const name = `${fact.family} ${fact.subject}`;
    if (this.#leftOut.has(`${name} ${fact.id}`)) return [];
    const stream = this.#streams.get(name) ?? { last: 0, lastId: "", early: new Map<number, F>(), others: [] };
    this.#streams.set(name, stream);
    const other = idOf(stream, fact.number);
    if (other !== undefined && other !== fact.id) {
      if (!stream.others.some(({ number, id }) => number === fact.number && id === fact.id)) stream.others.push(fact);
      return [];
    }
    if (fact.number <= stream.last || other !== undefined) {
      this.old += 1;
      return [];
    }
    stream.early.set(fact.number, fact);
    return this.#following(stream);
  }

  /**
   * Passes over a fact from now on, whenever it comes, as who owns the family says of one of a fork's two. Gives back what was kept
   * because of it and may be applied now. Throws where it was applied last.
   */
  leaveOut(family: string, subject: string, id: string): F[] {
    const name = `${family} ${subject}`;
    const stream = this.#streams.get(name);
    if (stream?.lastId === id) throw new Error("this fact was applied: it can't be left out any more");
    this.#leftOut.add(`${name} ${id}`);
    if (stream === undefined) return [];
    stream.others = stream.others.filter((one) => one.id !== id);
    for (const [number, one] of [...stream.early].filter(([, { id: early }]) => early === id)) {
      const following = stream.others.find((another) => another.number === one.number);
      stream.others = stream.others.filter((another) => another !== following);
      if (following === undefined) stream.early.delete(number);
      else stream.early.set(number, following);
    }
    return this.#following(stream);
  }

  #following(stream: Stream<F>): F[] {
    const ready: F[] = [];
    while (stream.others.length === 0) {
      const next = stream.early.get(stream.last + 1);
      if (next === undefined) break;
      stream.early.delete(next.number);
      stream.last = next.number;
      stream.lastId = next.id;
      ready.push(next);
    }
    return ready;
  }

  gaps(): Gap[] {
    return this.#each((stream, family, subject) =>
      stream.others.length === 0 && stream.early.size > 0
        ? [{ family, subject, missing: stream.last + 1, kept: stream.early.size }]
        : [],
    );
  }

  forks(): Fork[] {
    return this.#each((stream, family, subject) =>
      stream.others
        .slice(0, 1)
        .map(({ number, id }) => ({ family, subject, number, ids: [idOf(stream, number) ?? "", id] })),
    );
  }

  #each<T>(tell: (stream: Stream<F>, family: string, subject: string) => T[]): T[] {
    return [...this.#streams].flatMap(([name, stream]) => {
      const [family = "", subject = ""] = name.split(" ");
      return tell(stream, family, subject);
    });
  }
}

/** The fact that stands under a number, applied or kept; none where nothing does, or it is older than the last. */
function idOf<F extends Numbered>(stream: Stream<F>, number: number): string | undefined {
  return number === stream.last ? stream.lastId : stream.early.get(number)?.id;
}
