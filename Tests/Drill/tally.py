"""What a run's records say: shares, percentiles, and when things went wrong and right again."""

from stage import COUNT, TIMED_OUT


class Tally:
    """The records of one run, by stream. Times are seconds from the beginning, latencies ms."""

    def __init__(self, tape, streams):
        self.tape, self.streams = tape, streams
        self.rows = [[] for _ in streams]
        for due, latency, stream, attempts, status in tape.records:
            self.rows[stream].append((due / 1e6, latency / 1e3, status, attempts))
        for rows in self.rows:
            rows.sort()

    def select(self, window, names=None):
        """(row, is it good) of the requests that were due in the window."""
        begin, end = window
        for stream, rows in zip(self.streams, self.rows):
            if names is None or stream.name in names:
                for row in rows:
                    if begin <= row[0] < end:
                        yield row, 200 <= row[2] < 300 and row[1] <= stream.slo_ms

    def good_percent(self, window, names=None):
        outcomes = [is_good for _, is_good in self.select(window, names)]
        return 100 * sum(outcomes) / len(outcomes) if outcomes else None

    def answered_rate(self, window, names=None):
        """Good answers a second."""
        return sum(is_good for _, is_good in self.select(window, names)) / (window[1] - window[0])

    def due_rate(self, window):
        return sum(1 for _ in self.select(window)) / (window[1] - window[0])

    def percentile(self, window, share, names=None):
        """Latency (ms) that this share of the 2xx answers kept to, whether in time or not.

        A request whose client gave up counts with the time that it waited.
        """
        rows = [row for row, _ in self.select(window, names)]
        waits = [row[1] for row in rows if 200 <= row[2] < 300 or row[2] == TIMED_OUT]
        return rank(waits, share)

    def refusal_percentile(self, window, share):
        waits = [row[1] for row, _ in self.select(window) if row[2] in (429, 502, 503, 504)]
        return rank(waits, share)

    def recovery(self, since, until, names=None, percent=99.0, step=0.5, span=1.0):
        """Seconds after `since` from which on every `span` is good to `percent`; None if never."""
        found, at = None, since
        while at + span <= until:
            share = self.good_percent((at, at + span), names)
            if share is not None and share < percent:
                found = None
            elif found is None:
                found = at - since
            at += step
        return found

    # What reached the origins

    def arrivals(self, window):
        """Requests that reached each origin in the window."""
        begin, end = ([self._reached(number, at) for number in range(COUNT)] for at in window)
        return [after - before for before, after in zip(begin, end)]

    def _reached(self, origin, at):
        """Between two samples in a row it is taken to grow evenly."""
        count, counted_at = 0, None
        for time, counts in self.tape.samples:
            now = counts[origin]
            if time > at:
                if counted_at is not None and now is not None:
                    return count + (now - count) * (at - counted_at) / (time - counted_at)
                if count:
                    break
            if now is not None:
                count = now
            counted_at = None if now is None else time
        return count

    def attempts_per_request(self, window):
        """Attempts that reached the origins for each request of a client."""
        due = sum(1 for _ in self.select(window))
        return sum(self.arrivals(window)) / due if due else None

    def shunned_after(self, origin, since, until, share=0.05, span=1.0):
        """Seconds until the origin gets at most `share` of what is fair, for a `span`."""
        return self._first(origin, since, until, span, lambda part: part <= share)

    def used_after(self, origin, since, until, share=0.5, span=0.5):
        """Seconds until the origin gets at least `share` of what is fair."""
        return self._first(origin, since, until, span, lambda part: part >= share)

    def _first(self, origin, since, until, span, is_so):
        times = [time for time, _ in self.tape.samples if since <= time]
        for time in times:
            if time + span > until:
                return None
            reached = self.arrivals((time, time + span))
            fair = sum(reached) / COUNT
            if fair and is_so(reached[origin] / fair):
                return time - since
        return None


def rank(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)] if values else None
