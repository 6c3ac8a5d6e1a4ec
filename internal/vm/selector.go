package vm

import (
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Selector is what VMs are chosen by: all of its conditions hold of their labels. The
// empty one chooses all.
type Selector []Condition

// Condition is about the value of one label. A VM without the label is none of its
// values.
type Condition struct {
	Key    string
	Values []string // at least one; nil asks whether there is a label, whatever its value
	Not    bool     // it must not be so
}

// Bounds of selectors.
const (
	maxSelector   = 4096 // bytes
	maxConditions = 32
	maxChoices    = 64 // values of a condition
)

// ParseSelector reads a selector such as env=prod,tier!=web,owner,!temp,zone in (a,b),
// which is the language of Kubernetes: == is =, and notin is the opposite of in.
// Returns an Invalid fault for what is none.
func ParseSelector(text string) (Selector, error) {
	if len(text) > maxSelector {
		return nil, fault.Newf(fault.Invalid, "a label selector has at most %d bytes", maxSelector)
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	parts, ok := splitSelector(text)
	if !ok || len(parts) > maxConditions {
		return nil, badSelector(text)
	}
	s := make(Selector, len(parts))
	for i, part := range parts {
		c, err := parseCondition(part)
		if err != nil {
			return nil, err
		}
		s[i] = c
	}
	return s, nil
}

func badSelector(text string) error {
	return fault.Newf(fault.Invalid, "label selector %q is not at most %d conditions such as env=prod, tier!=web, owner, !temp or zone in (a,b), joined by commas", clip(text), maxConditions)
}

// splitSelector splits at commas outside of parentheses, which don't nest.
func splitSelector(text string) (parts []string, ok bool) {
	begin, inside := 0, false
	for i := range len(text) {
		switch text[i] {
		case '(', ')':
			if inside == (text[i] == '(') {
				return nil, false
			}
			inside = !inside
		case ',':
			if !inside {
				parts = append(parts, text[begin:i])
				begin = i + 1
			}
		}
	}
	return append(parts, text[begin:]), !inside
}

func parseCondition(part string) (c Condition, err error) {
	text := strings.TrimSpace(part)
	if i := strings.IndexByte(text, '('); i >= 0 {
		return parseChoice(text[:i], text[i:])
	}
	key, value, compared := strings.Cut(text, "=")
	if !compared {
		c.Key, c.Not = strings.CutPrefix(text, "!")
		c.Key = strings.TrimSpace(c.Key)
		return c, CheckLabelKey(c.Key)
	}
	if key, c.Not = strings.CutSuffix(key, "!"); !c.Not {
		value = strings.TrimPrefix(value, "=")
	}
	c.Key, c.Values = strings.TrimSpace(key), []string{strings.TrimSpace(value)}
	return c, c.check()
}

// parseChoice reads such as zone in (a,b), split before its parenthesis.
func parseChoice(left, right string) (c Condition, err error) {
	words := strings.Fields(left)
	list, closed := strings.CutSuffix(right[1:], ")")
	if len(words) != 2 || !closed || words[1] != "in" && words[1] != "notin" {
		return c, badSelector(left + right)
	}
	c.Key, c.Not = words[0], words[1] == "notin"
	for value := range strings.SplitSeq(list, ",") {
		c.Values = append(c.Values, strings.TrimSpace(value))
	}
	return c, c.check()
}

func (c Condition) check() error {
	if len(c.Values) > maxChoices {
		return fault.Newf(fault.Invalid, "label selector: at most %d values are compared with one label", maxChoices)
	}
	if err := CheckLabelKey(c.Key); err != nil {
		return err
	}
	for _, value := range c.Values {
		if err := checkLabelValue(value); err != nil {
			return fault.Newf(fault.Invalid, "label selector: %s", fault.Message(err))
		}
	}
	return nil
}

// Matches reports whether labels are as the selector asks.
func (s Selector) Matches(l Labels) bool {
	return !slices.ContainsFunc(s, func(c Condition) bool { return !c.matches(l) })
}

func (c Condition) matches(l Labels) bool {
	value, there := l[c.Key]
	if len(c.Values) > 0 {
		there = there && slices.Contains(c.Values, value)
	}
	return there != c.Not
}

// String returns a selector that ParseSelector reads as s.
func (s Selector) String() string {
	words := make([]string, len(s))
	for i, c := range s {
		words[i] = c.String()
	}
	return strings.Join(words, ",")
}

// String returns the condition as it is written.
func (c Condition) String() string {
	not := ""
	if c.Not {
		not = "!"
	}
	switch len(c.Values) {
	case 0:
		return not + c.Key
	case 1:
		return c.Key + not + "=" + c.Values[0]
	}
	word := " in ("
	if c.Not {
		word = " notin ("
	}
	return c.Key + word + strings.Join(c.Values, ",") + ")"
}
