/**
 * Order within (family, subject): facts are numbered 1, 2, 3, so a reader never has to trust. It applies the next, drops the
 * old (delivery is at least once), keeps the early until the missing one comes, and holds a stream in which two facts stand
 * under one number. Numbers are counted over all types: one that is not read still takes its place.
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

/** Two facts under one number: nothing of this stream is applied any more. */
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
  fork?: Fork;
}

/** Every stream one reader hears. */
export class Streams<F extends Numbered> {
  readonly #streams = new Map<string, Stream<F>>();
  /** Facts dropped because they had been applied before. */
  old = 0;

  /** What may be applied now, in order. */
  take(fact: F): F[] {
    const name = `${fact.family} ${fact.subject}`;
    const stream = this.#streams.get(name) ?? { last: 0, lastId: "", early: new Map<number, F>() };
    this.#streams.set(name, stream);
    const other = fact.number === stream.last ? stream.lastId : stream.early.get(fact.number)?.id;
    if (other !== undefined && other !== fact.id) {
      const { family, subject, number } = fact;
      stream.fork ??= { family, subject, number, ids: [other, fact.id] };
      return [];
    }
    if (fact.number <= stream.last || other !== undefined) {
      this.old += 1;
      return [];
    }
    stream.early.set(fact.number, fact);
    const ready: F[] = [];
    while (stream.fork === undefined) {
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
      stream.fork === undefined && stream.early.size > 0
        ? [{ family, subject, missing: stream.last + 1, kept: stream.early.size }]
        : [],
    );
  }

  forks(): Fork[] {
    return this.#each((stream) => (stream.fork === undefined ? [] : [stream.fork]));
  }

  #each<T>(tell: (stream: Stream<F>, family: string, subject: string) => T[]): T[] {
    return [...this.#streams].flatMap(([name, stream]) => {
      const [family = "", subject = ""] = name.split(" ");
      return tell(stream, family, subject);
    });
  }
}
