package listing_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/listing"
	"github.com/cpucloud/cpucloud/internal/money"
)

// word is any text that a listing may hold, among it what YAML would rather
// read as something else.
func word() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"no", "NO", "null", "~", "1e3", "0x10", "010", "true", "<<", "- a", "a: b", "# c", "'", `"`, "2026-01-31", " x ", "*a", "&a", "!t", "%", "1_000", ".inf", "\u2028", "é"}),
		rapid.StringMatching(`[\PC\n]{1,12}`).Filter(func(s string) bool { return s != "" && !strings.Contains(s, "\n") }),
	)
}

func draw(t *rapid.T) listing.Listing {
	price := rapid.Custom(func(t *rapid.T) money.Amount {
		return money.Amount(rapid.Int64Range(0, int64(1_000_000*money.USDC)).Draw(t, "price"))
	})
	maybe := rapid.OneOf(rapid.Just(""), word())
	l := listing.Listing{Provider: maybe.Draw(t, "provider"), Datacenters: []listing.Datacenter{}, Offers: []listing.Offer{}}
	for i := range rapid.IntRange(0, 3).Draw(t, "datacenters") {
		l.Datacenters = append(l.Datacenters, listing.Datacenter{
			Country: rapid.SampledFrom([]string{"DE", "NO", "US"}).Draw(t, "country"), City: rapid.StringMatching(`[A-Z2-9]{3}`).Draw(t, "city"),
			Index: int64(i + 1), Tier: rapid.Int64Range(1, 4).Draw(t, "tier"),
			Certifications: rapid.SliceOfNDistinct(word(), 0, 3, rapid.ID[string]).Draw(t, "certifications"),
		})
	}
	if len(l.Datacenters) == 0 {
		return l
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "offers") {
		place := rapid.SampledFrom(l.Datacenters).Draw(t, "place")
		l.Offers = append(l.Offers, listing.Offer{
			Name:       fmt.Sprint(i, word().Draw(t, "name")),
			Datacenter: strings.ToLower(fmt.Sprintf("%s-%s-%d", place.Country, place.City, place.Index)),
			Hardware: listing.Hardware{
				CPU:     listing.CPU{Manufacturer: maybe.Draw(t, "manufacturer"), Generation: maybe.Draw(t, "generation")},
				Storage: listing.Storage{Type: rapid.SampledFrom([]string{"", "HDD", "SSD", "NVMe"}).Draw(t, "storage")},
			},
			Prices:          listing.Prices{VCPU: price.Draw(t, "vcpu"), RAM: price.Draw(t, "ram"), Storage: price.Draw(t, "disk"), Address: price.Draw(t, "address")},
			MaxExtraStorage: rapid.Int64Range(0, 1<<20).Draw(t, "extra"),
		})
	}
	return l
}

// TestWhatIsWrittenIsReadBack: an exported file says what was exported.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := draw(t)
		text, err := listing.Write(want)
		if err != nil {
			t.Fatal(err)
		}
		got, faults := listing.Parse("f", text)
		if len(faults) > 0 {
			t.Fatalf("%v in\n%s", faults, text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v\nfrom\n%s", got, want, text)
		}
	})
}

// FuzzParse: no file makes it panic, every fault has a place in the file, and
// what it accepts it writes as the same.
func FuzzParse(f *testing.F) {
	f.Add(example(f))
	for _, text := range []string{
		"", "a: [", "a: &a [*a]", frame(prices), frame("&p {vcpu: 1e3, <<: *p}"), "{\"offers\": [1]}", "? [a]\n: b", "a: !!binary x", "%YAML 1.1\n---\n", "--- a\n--- b\n",
		frame("{vcpu: 0x10, ram: .inf, storage: 1_0, address: ~}"), "\xff\xfe", "a: 2026-01-31", "\ta: 1",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, faults := listing.Parse("f", text)
		lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Message == "" || fault.File != "f" {
				t.Errorf("fault without a place: %+v", fault)
			}
			if fault.Line > lines+1 && !strings.ContainsAny(string(text), "\u0085\u2028\u2029") {
				t.Errorf("fault in line %d of %d: %+v", fault.Line, lines, fault)
			}
			if place := listing.Find("f", text, fault.Path, "x"); place.Line < 1 {
				t.Errorf("%q has no place", fault.Path)
			}
		}
		if len(faults) > 0 {
			return
		}
		again, err := listing.Write(l)
		if err != nil {
			t.Fatal(err)
		}
		if got, faults := listing.Parse("f", again); len(faults) > 0 || !reflect.DeepEqual(got, l) {
			t.Errorf("%+v, written and read: %+v, %v\n%s", l, got, faults, again)
		}
	})
}

func TestStorageType(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{"nvme": "NVMe", "SSD": "SSD", "hDD": "HDD", "": "", "tape": "tape"} {
		if got := listing.StorageType(kind); got != want {
			t.Errorf("StorageType(%q) = %q, want %q", kind, got, want)
		}
	}
}
