import { useEffect, useRef, useState } from "react";
import { type HexwardError, type RunTicket, subscribe } from "./browser.js";
import type { RunEvent } from "./events.js";
import { EMPTY_VIEW, reduce, type RunView } from "./view.js";

export interface UseRunOptions {
  /** Gets another ticket from the back end, where the first one is over before its run. */
  renew?: () => Promise<RunTicket>;
  /** Told of each event, once. */
  onEvent?: (event: RunEvent) => void;
}

export interface UsedRun {
  view: RunView;
  /** Why the stream can't go on; the run may all the same. */
  error: HexwardError | undefined;
}

const NOTHING: UsedRun = { view: EMPTY_VIEW, error: undefined };

/** What a run has told so far. Another ticket object begins anew; null shows nothing. */
export function useRun(ticket: RunTicket | null, options: UseRunOptions = {}): UsedRun {
  const [used, setUsed] = useState<{ of: RunTicket | null; run: UsedRun }>({ of: ticket, run: NOTHING });
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  useEffect(() => {
    if (!ticket) return undefined;
    setUsed({ of: ticket, run: NOTHING });
    const change = (next: (run: UsedRun) => UsedRun) => setUsed((held) => (held.of === ticket ? { of: ticket, run: next(held.run) } : held));
    const renew = latest.current.renew;
    return subscribe(
      ticket,
      {
        onEvent: (event) => {
          change((run) => ({ ...run, view: reduce(run.view, event) }));
          latest.current.onEvent?.(event);
        },
        onError: (error) => change((run) => ({ ...run, error })),
      },
      renew ? { renew: () => (latest.current.renew ?? renew)() } : {},
    );
  }, [ticket]);
  return used.of === ticket ? used.run : NOTHING;
}
