package vm_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

func TestCheckLabels(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for _, good := range []vm.Labels{
		nil,
		{"env": "prod"},
		{"env": ""},
		{"a": "1"},
		{"Tier_2.x-y": "Web_2.x-y"},
		{"example.com/env": "prod"},
		{long: long},
		{strings.Repeat("a.", 126) + "a/env": "x"},
	} {
		if err := vm.CheckLabels(good); err != nil {
			t.Errorf("CheckLabels(%v): %v", good, err)
		}
	}
	for _, bad := range []vm.Labels{
		{"": "x"},
		{"-a": "x"},
		{"a-": "x"},
		{"a b": "x"},
		{"ä": "x"},
		{long + "a": "x"},
		{"/env": "x"},
		{"example.com/": "x"},
		{"a/b/c": "x"},
		{"Example.com/env": "x"},
		{"-a.com/env": "x"},
		{strings.Repeat("a.", 127) + "a/env": "x"},
		{"env": " "},
		{"env": "-a"},
		{"env": "a-"},
		{"env": "a b"},
		{"env": "ü"},
		{"env": long + "a"},
		{"env": "a,b"},
		{"env": "a\n"},
	} {
		if err := vm.CheckLabels(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("CheckLabels(%v): %v, want it refused", bad, err)
		}
	}
	many := vm.Labels{}
	for i := range vm.MaxLabels {
		many[fmt.Sprint("k", i)] = ""
	}
	if err := vm.CheckLabels(many); err != nil {
		t.Error(err)
	}
	many["more"] = ""
	if err := vm.CheckLabels(many); !fault.Is(err, fault.Invalid) {
		t.Errorf("%d labels: %v, want them refused", len(many), err)
	}
}

func TestMergeLabels(t *testing.T) {
	t.Parallel()
	web, none := "web", ""
	before := vm.Labels{"env": "prod", "temp": "1"}
	got := before.Merge(map[string]*string{"tier": &web, "temp": nil, "gone": nil, "env": &none})
	if got.String() != "env=,tier=web" || before.String() != "env=prod,temp=1" {
		t.Errorf("merged to %q, before is %q", got, before)
	}
	if got := vm.Labels(nil).Merge(map[string]*string{"tier": &web}); got.String() != "tier=web" {
		t.Errorf("none merged to %q", got)
	}
}

func TestSelector(t *testing.T) {
	t.Parallel()
	labels := vm.Labels{"env": "prod", "owner": "", "zone": "b", "example.com/tier": "web"}
	for text, want := range map[string]bool{
		"": true, "  ": true,
		"env=prod": true, "env==prod": true, "env = prod": true, "env=test": false, "env": true, "temp": false, "!temp": true, "! temp": true, "!env": false,
		"owner=": true, "owner": true, "env=": false, "temp=": false, "temp!=": true,
		"env!=prod": false, "env!=test": true, "temp!=x": true,
		"zone in (a,b)": true, "zone in (a, c)": false, "zone notin (a,c)": true, "zone notin (b)": false, "temp in (a)": false, "temp notin (a)": true,
		"owner in (,x)": true, "env in ()": false, "owner in ()": true, "zone in(a,b)": true,
		"env=prod,owner,!temp,zone in (a,b),example.com/tier!=db": true,
		"env=prod,owner,!temp,zone in (a,b),example.com/tier=db":  false,
	} {
		s, err := vm.ParseSelector(text)
		if err != nil || s.Matches(labels) != want {
			t.Errorf("%q: %v, %v; want %t", text, s, err, want)
		}
	}
	for _, bad := range []string{
		",", "env=prod,", ",env", "=prod", "!=prod", "!", "!!env", "env=a b", "env=a=b", "env===a", "env in", "env in a", "env in (a", "env in a)", "in (a)", "(a)",
		"env in (a))", "env in ((a)", "env within (a)", "env not in (a)", "env in (a) x", "env>1", "env=prod owner", "env=prod;owner", "a/b/c=d",
		strings.Repeat("a,", 32) + "a", strings.Repeat("a", 5000), "a in (" + strings.Repeat("b,", 64) + "b)",
	} {
		if s, err := vm.ParseSelector(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.50q: %v, %v; want it refused", bad, s, err)
		}
	}
}

var (
	labelWord = rapid.SampledFrom([]string{"a", "b", "env", "example.com/env", "0", "in", "notin"})
	labelText = rapid.SampledFrom([]string{"", "a", "b", "in", "x-1"})
)

func drawSelector(t *rapid.T) vm.Selector {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) vm.Condition {
		return vm.Condition{
			Key: labelWord.Draw(t, "key"), Not: rapid.Bool().Draw(t, "not"),
			Values: slices.Clip(slices.Concat([]string(nil), rapid.SliceOfN(labelText, 0, 3).Draw(t, "values"))),
		}
	}), 1, 5).Draw(t, "selector")
}

// A selector that is written out is read as the same, and each condition says of
// labels what its words mean.
func TestSelectorProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawSelector(t)
		again, err := vm.ParseSelector(s.String())
		if err != nil || again.String() != s.String() || len(again) != len(s) {
			t.Fatalf("%q is read as %q, %v", s, again, err)
		}
		labels := vm.Labels(rapid.MapOfN(labelWord, labelText, 0, 4).Draw(t, "labels"))
		all := true
		for _, c := range s {
			value, there := labels[c.Key]
			holds := there && (len(c.Values) == 0 || slices.Contains(c.Values, value))
			all = all && holds != c.Not
			if one := (vm.Selector{c}); one.Matches(labels) == holds == c.Not {
				t.Fatalf("%q of %v is %t", one, labels, one.Matches(labels))
			}
		}
		if s.Matches(labels) != all || again.Matches(labels) != all {
			t.Fatalf("%q of %v is %t, want %t", s, labels, s.Matches(labels), all)
		}
	})
}

// Whatever is given, reading it ends in a selector that can be written and read
// again, or in a fault that says what is wrong.
func TestSelectorOfAnything(t *testing.T) {
	t.Parallel()
	alphabet := []rune("ab=!,() innot/.-\t\"é")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.SampledFrom(alphabet), 0, 40, -1).Draw(t, "text")
		s, err := vm.ParseSelector(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if again, err := vm.ParseSelector(s.String()); err != nil || again.String() != s.String() {
			t.Fatalf("%q gave %q, which is read as %q, %v", text, s, again, err)
		}
	})
}

// Merging what makes one set of labels of another gives that.
func TestMergeProperties(t *testing.T) {
	t.Parallel()
	labels := rapid.MapOfN(labelWord, labelText, 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		before, after := labels.Draw(t, "before"), labels.Draw(t, "after")
		changes := map[string]*string{}
		for key := range before {
			changes[key] = nil
		}
		for key, value := range after {
			changes[key] = &value
		}
		if got := vm.Labels(before).Merge(changes); !maps.Equal(got, after) {
			t.Fatalf("%v became %v, want %v", before, got, after)
		}
	})
}
