package vm

import (
	"maps"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Labels are what a customer tells VMs apart by: values by their keys. What they may
// look like is that of Kubernetes, so that one way to name things does for both.
type Labels map[string]string

// Bounds of labels.
const (
	MaxLabels     = 32
	maxLabelPart  = 63  // of a value, and of a key's name
	maxLabelSpace = 253 // of a key's prefix, which is a DNS name
)

// CheckLabels returns an Invalid fault unless there are at most MaxLabels, each with
// a key and a value as they may be.
func CheckLabels(l Labels) error {
	if len(l) > MaxLabels {
		return fault.Newf(fault.Invalid, "at most %d labels fit a VM, not %d", MaxLabels, len(l))
	}
	for _, key := range slices.Sorted(maps.Keys(l)) {
		if err := CheckLabelKey(key); err != nil {
			return err
		}
		if err := checkLabelValue(l[key]); err != nil {
			return fault.Newf(fault.Invalid, "label %s: %s", key, fault.Message(err))
		}
	}
	return nil
}

// CheckLabelKey returns an Invalid fault unless key may be one: a name such as env,
// perhaps behind a DNS name as in example.com/env.
func CheckLabelKey(key string) error {
	space, name, split := strings.Cut(key, "/")
	if !split {
		space, name = "", key
	}
	if !isLabelPart(name) || split && !isLabelSpace(space) {
		return fault.Newf(fault.Invalid, "label key %q is not 1 to %d letters, digits and inner -, _ and ., with a DNS name and / before them if need be, such as env or example.com/env", clip(key), maxLabelPart)
	}
	return nil
}

func checkLabelValue(value string) error {
	if value != "" && !isLabelPart(value) {
		return fault.Newf(fault.Invalid, "value %q is not at most %d letters, digits and inner -, _ and .", clip(value), maxLabelPart)
	}
	return nil
}

// isLabelPart reports whether text is what keys and values are made of.
func isLabelPart(text string) bool {
	return text != "" && len(text) <= maxLabelPart && isAlphanumeric(text[0]) && isAlphanumeric(text[len(text)-1]) &&
		!strings.ContainsFunc(text, func(c rune) bool { return !isWordChar(c) && c != '_' && c != '.' })
}

// isLabelSpace reports whether text is a DNS name in lower case.
func isLabelSpace(text string) bool {
	return len(text) <= maxLabelSpace && text == strings.ToLower(text) && CheckHostname(text) == nil
}

func isAlphanumeric(c byte) bool { return isWordChar(rune(c)) && c != '-' }

// String returns labels as they are told: by their keys, with commas.
func (l Labels) String() string {
	words := make([]string, 0, len(l))
	for _, key := range slices.Sorted(maps.Keys(l)) {
		words = append(words, key+"="+l[key])
	}
	return strings.Join(words, ",")
}

// Merge returns l with what changes says: values to be set, and nil for keys that go.
func (l Labels) Merge(changes map[string]*string) Labels {
	merged := maps.Clone(l)
	if merged == nil {
		merged = Labels{}
	}
	for key, value := range changes {
		if value == nil {
			delete(merged, key)
		} else {
			merged[key] = *value
		}
	}
	return merged
}
