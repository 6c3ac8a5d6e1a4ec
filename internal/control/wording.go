package control

import (
	"fmt"
	"strings"
	"time"
)

// clock returns a time as a sentence tells it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// span returns about how long a time is, in its two largest units.
func span(d time.Duration) string {
	if d < time.Minute {
		return "less than a minute"
	}
	d = d.Round(time.Minute)
	var parts []string
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"day", day}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := d / unit.of; n > 0 && len(parts) < 2 {
			parts = append(parts, count(int(n), unit.name))
		} else if len(parts) > 0 {
			break
		}
		d %= unit.of
	}
	return strings.Join(parts, " and ")
}

// count returns a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// told is how many names a sentence tells.
const told = 3

// enumerate joins names, the first few of many.
func enumerate(names []string) string {
	if n := len(names); n > told {
		return strings.Join(names[:told], ", ") + fmt.Sprintf(" and %d more", n-told)
	} else if n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

// numbered returns the form of a word that fits so many.
func numbered(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
