import org.apache.cassandra.utils.Clock;

/** A wrong time of day: the machine's, and as many milliseconds as the property clock.shift says. */
public final class ShiftedClock implements Clock {
    private static final long SHIFT = Long.getLong("clock.shift");

    @Override
    public long nanoTime() {
        return System.nanoTime();
    }

    @Override
    public long currentTimeMillis() {
        return System.currentTimeMillis() + SHIFT;
    }
}
