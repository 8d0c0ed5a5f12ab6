/**
 * Entries, exits and stock of participations by month, municipality and block, as `report.participation.internal` defines
 * them: counted from the facts of `intake.events` and `referral.events` alone.
 */

import type { CaseOpened } from "../published/intake/case_opened.v1.js";
import type { ParticipationEnded } from "../published/referral/participation_ended.v1.js";
import type { ParticipationStarted } from "../published/referral/participation_started.v1.js";
import type { Cell, ParticipationReport } from "../published/reporting/participation_report.v1.js";
import type { Fact } from "./messages.js";

/** Types whose facts are counted, without their version. */
const READ = ["lotse.intake.case_opened.v", "lotse.referral.participation_started.v", "lotse.referral.participation_ended.v"];

type Statement = Pick<ParticipationStarted, "reported_at" | "revision">;

interface Participation {
  start?: ParticipationStarted;
  end?: ParticipationEnded;
}

interface Case {
  municipality: string;
  participations: Map<string, Participation>;
}

/** One month's grid of one alliance. */
export type Grid = Pick<ParticipationReport, "month"> & { tenant: string; cells: Cell[] };

export class Figures {
  readonly #cases = new Map<string, Map<string, Case>>();
  /** Later versions of what is read here, with how many facts: they are said in place of it, and not counted. */
  readonly later: Record<string, number> = {};

  /** Folds a fact of any type: those that say nothing of participation change nothing. */
  apply(fact: Fact): void {
    switch (fact.type) {
      case "lotse.intake.case_opened.v1":
        this.#case(fact).municipality = (fact.data as CaseOpened).municipality;
        break;
      case "lotse.referral.participation_started.v1": {
        const said = fact.data as ParticipationStarted;
        const one = this.#participation(fact, said.participation_id);
        if (stands(said, one.start)) one.start = said;
        break;
      }
      case "lotse.referral.participation_ended.v1": {
        const said = fact.data as ParticipationEnded;
        const one = this.#participation(fact, said.participation_id);
        if (stands(said, one.end)) one.end = said;
        break;
      }
      default:
        if (READ.some((type) => fact.type.startsWith(type))) this.later[fact.type] = (this.later[fact.type] ?? 0) + 1;
    }
  }

  /** Every alliance's months up to the last that is over at `asOf` in the alliance's zone, zeros included. */
  grids(asOf: Date): Grid[] {
    return [...this.#cases.keys()].sort().flatMap((tenant) => this.#gridsOf(tenant, before(monthOf(dayIn(asOf)))));
  }

  #gridsOf(tenant: string, lastClosed: string): Grid[] {
    const periods = [...(this.#cases.get(tenant)?.values() ?? [])].flatMap((one) =>
      [...one.participations.values()].flatMap(({ start, end }) =>
        start === undefined
          ? []
          : [{
              municipality: one.municipality,
              block: start.block,
              from: start.started_on,
              until: end === undefined || end.kind === "ENTERED_IN_ERROR" ? undefined : end.ended_before_on,
            }],
      ),
    );
    const axis = [...new Set(periods.map(({ municipality, block }) => `${municipality} ${block}`))].sort();
    const first = periods.map(({ from }) => monthOf(from)).sort()[0];
    const changes = periods.flatMap(({ from, until }) => (until === undefined ? [lastClosed] : [monthOf(from), monthOf(until)]));
    const last = [...changes].sort().at(-1);
    const grids: Grid[] = [];
    if (first === undefined || last === undefined) return grids;
    for (let month = first; month <= last && month <= lastClosed; month = after(month)) {
      const cells = axis.map((name): Cell => {
        const [municipality = "", block = ""] = name.split(" ");
        const here = periods.filter((one) => one.municipality === municipality && one.block === block);
        return {
          municipality,
          block,
          entries: here.filter(({ from }) => monthOf(from) === month).length,
          exits: here.filter(({ until }) => until !== undefined && monthOf(until) === month).length,
          // days are text: whoever ends on the first of the next month was there on the last of this one
          stock: here.filter(({ from, until }) => monthOf(from) <= month && (until === undefined || monthOf(until) > month)).length,
        };
      });
      grids.push({ tenant, month, cells });
    }
    return grids;
  }

  #case(fact: Fact): Case {
    const cases = this.#cases.get(fact.tenant) ?? new Map<string, Case>();
    this.#cases.set(fact.tenant, cases);
    const found = cases.get(fact.subject) ?? { municipality: "UNKNOWN", participations: new Map<string, Participation>() };
    cases.set(fact.subject, found);
    return found;
  }

  #participation(fact: Fact, id: string): Participation {
    const { participations } = this.#case(fact);
    const found = participations.get(id) ?? {};
    participations.set(id, found);
    return found;
  }
}

/** Whether a statement stands against another: the highest (reported_at, revision) does. */
function stands(said: Statement, other: Statement | undefined): boolean {
  if (other === undefined) return true;
  const later = Date.parse(said.reported_at) - Date.parse(other.reported_at);
  return later > 0 || (later === 0 && said.revision > other.revision);
}

function monthOf(day: string): string {
  return day.slice(0, 7);
}

function dayIn(moment: Date, zone = "Europe/Berlin"): string {
  return new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short" }).format(moment);
}

function shifted(month: string, by: number): string {
  return new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)) - 1 + by)).toISOString().slice(0, 7);
}

const after = (month: string): string => shifted(month, 1);
const before = (month: string): string => shifted(month, -1);
