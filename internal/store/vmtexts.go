package store

import (
	"errors"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// vmTexts is what is kept of a VM as JSON.
type vmTexts struct{ spec, parts, full, leaves, before, asks, trouble string }

func textsOf(v vm.VM) (t vmTexts, err error) {
	var errs [6]error
	t.spec, errs[0] = toJSON(v.Spec)
	t.parts, errs[1] = partsText(v.Parts)
	t.full, t.leaves, errs[2] = termsText(v)
	t.before, errs[3] = portsText(v.Before)
	t.asks, errs[4] = asksText(v.Asks)
	t.trouble, errs[5] = troubleText(v.Trouble)
	return t, errors.Join(errs[:]...)
}

// partsText is how the parts of a price are kept, "" when they are not known.
func partsText(p vm.Parts) (string, error) {
	if p == (vm.Parts{}) {
		return "", nil
	}
	return toJSON(p)
}

// termsText is how is kept what was agreed to of a VM, "" where that is what it costs
// now, and what it leaves, "" for nothing.
func termsText(v vm.VM) (full, leaves string, err error) {
	if v.Full != v.Parts {
		if full, err = partsText(v.Full); err != nil {
			return "", "", err
		}
	}
	if v.Leaves != (capacity.Vector{}) {
		leaves, err = toJSON(v.Leaves)
	}
	return full, leaves, err
}

// asksText is how is kept what is asked of a VM's agent, "" for nothing.
func asksText(a vm.Asks) (string, error) {
	text, err := toJSON(a)
	return strings.TrimPrefix(text, "{}"), err
}

// troubleText is how the trouble of a VM's agent is kept, "" for none.
func troubleText(t vm.Trouble) (string, error) {
	if t == (vm.Trouble{}) {
		return "", nil
	}
	return toJSON(t)
}

// userDataText is what is kept of a VM's user data: nothing once it was Active, or
// has the disk that it is for, because its server has what it needs of it by
// then, and nothing of one that is to be removed.
func userDataText(v vm.VM) string {
	if v.Goal == vm.Remove || !v.ActivatedAt.IsZero() && !v.Turning() {
		return ""
	}
	return string(v.UserData)
}

// hostKeysText is how host keys are kept: one a line.
func hostKeysText(keys []hostkey.Key) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(string(k) + "\n")
	}
	return b.String()
}

func hostKeysOf(text string) (keys []hostkey.Key) {
	for line := range strings.Lines(text) {
		keys = append(keys, hostkey.Key(strings.TrimSuffix(line, "\n")))
	}
	return keys
}

// portsText is how ports are kept that are not the spec's, "" for none at all.
func portsText(ports []vm.Port) (string, error) {
	if ports == nil {
		return "", nil
	}
	return toJSON(ports)
}
