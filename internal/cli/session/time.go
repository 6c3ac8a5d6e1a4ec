package session

import (
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// longest bounds durations: ten years.
const longest = 10 * 365 * 24 * time.Hour

// Duration reads what time.ParseDuration reads, and whole days. Returns an
// Invalid fault.
func Duration(text string) (time.Duration, error) {
	unit, parsed := time.Duration(1), text
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		unit, parsed = 24, days+"h"
	}
	d, err := time.ParseDuration(parsed)
	if err != nil || d <= 0 || d > longest/unit {
		return 0, fault.Newf(fault.Invalid, "%q is no duration such as 90m, 72h or 3d", text)
	}
	return d * unit, nil
}

// Moment reads the value of a flag that is a time: a date in UTC, a time, or how
// long ago it is; the zero time for "". Returns an Invalid fault.
func Moment(flag, text string, now func() time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	ago, err := Duration(text)
	if err != nil {
		return time.Time{}, fault.Newf(fault.Invalid, "%s %q is none of a date such as 2026-01-31, a time of RFC 3339, or a duration such as 30d", flag, text)
	}
	return now().Add(-ago), nil
}
