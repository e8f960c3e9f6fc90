"""One thin click command per verb; imported only when that verb is asked for (start-up time)."""
