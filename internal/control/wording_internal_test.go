package control

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "less than a minute", 59 * time.Second: "less than a minute", time.Minute: "1 minute", 90 * time.Minute: "1 hour and 30 minutes",
		day: "1 day", 3*day - time.Millisecond: "3 days", 2*day + 23*time.Hour + 59*time.Minute: "2 days and 23 hours", day + 5*time.Minute: "1 day",
		7 * day: "7 days", 30*day + time.Hour: "30 days and 1 hour",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

func TestEnumerate(t *testing.T) {
	t.Parallel()
	for want, names := range map[string][]string{
		"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}, "a, b, c and 2 more": {"a", "b", "c", "d", "e"},
	} {
		if got := enumerate(names); got != want {
			t.Errorf("%v: got %q, want %q", names, got, want)
		}
	}
}
