package listing_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/listing"
	"github.com/cpucloud/cpucloud/internal/money"
)

// example returns the file that the documentation shows.
func example(tb testing.TB) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", "offers.yaml"))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestExample(t *testing.T) {
	t.Parallel()
	got, faults := listing.Parse("offers.yaml", example(t))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := listing.Listing{
		Provider:    "Example Hosting",
		Datacenters: []listing.Datacenter{{Country: "DE", City: "FRA", Index: 1, Tier: 3, Certifications: []string{"ISO 27001"}}},
		Offers: []listing.Offer{
			{Name: "standard", Datacenter: "de-fra-1", Prices: listing.Prices{VCPU: 50_000, RAM: 20_000, Storage: 4_000, Address: 20_000}},
			{
				Name: "fast", Datacenter: "de-fra-1", MaxExtraStorage: 500,
				Hardware: listing.Hardware{CPU: listing.CPU{Manufacturer: "AMD", Architecture: "Zen", Generation: "4"}, Storage: listing.Storage{Type: "NVMe"}},
				Prices:   listing.Prices{VCPU: 80_000, RAM: 30_000, Storage: 8_000, Address: 20_000},
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestJSONIsReadToo(t *testing.T) {
	t.Parallel()
	text := "{\n\t\"datacenters\": [{\"country\": \"NO\", \"city\": \"OSL\", \"tier\": 2}],\n" +
		"\t\"offers\": [{\"name\": \"a\", \"datacenter\": \"no-osl-1\", \"prices\": {\"vcpu\": 1, \"ram\": .5, \"storage\": \"0\", \"address\": 0.000001}}]\n}\n"
	got, faults := listing.Parse("offers.json", []byte(text))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := listing.Prices{VCPU: money.USDC, RAM: money.USDC / 2, Storage: 0, Address: 1}
	if got.Offers[0].Prices != want || got.Datacenters[0].Index != 1 || got.Datacenters[0].Country != "NO" {
		t.Errorf("got %+v", got)
	}
}

// frame is a listing with one datacenter in lines 1 and 2 and one offer from
// line 4, whose prices are given.
func frame(prices string) string {
	return "datacenters:\n  - {country: DE, city: FRA, tier: 3}\noffers:\n  - name: a\n    datacenter: de-fra-1\n    prices: " + prices + "\n"
}

const prices = "{vcpu: 1, ram: 1, storage: 1, address: 1}"

// TestFaults says each thing that can be wrong, where it is found and what is said.
func TestFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "f:1:1: the file is empty",
		"# nothing\n":                          "f:1:1: the file is empty",
		"a: 1\nb: [\n":                         "f:2:1: this is no YAML: did not find expected node content",
		"a: 1\n  b: 2\n":                       "f:2:3: this is no YAML: mapping values are not allowed in this context",
		"[]":                                   "f:1:1: it has to be members with values, not a list",
		"offers: []":                           "f:1:1: it has to have datacenters",
		"datacenters:\noffers: []":             "f:1:13: datacenters: it has to be a list; write [] for none",
		"datacenters: []\noffers: 1.5":         "f:2:9: offers: it has to be a list",
		frame(prices) + "---\na: 1\n":          "f:7:1: there is a second document: one file is one listing",
		frame(prices) + "offer: []\n":          "f:7:1: offer: there is no such member; there are datacenters, offers, provider",
		frame(prices) + "provider: 7\n":        "f:7:11: provider: it has to be text: write it in quotes",
		frame(prices) + "provider: ''\n":       "f:7:11: provider: it must not be empty",
		frame(prices) + "offers: []\n":         "f:7:1: offers: given twice, first in line 3",
		frame(prices) + "? [a]\n: 1\n":         "f:7:3: the name of a member has to be text",
		frame("{vcpu: 1, ram: 1, storage: 1}"): "f:6:13: offers[0].prices: it has to have address",
		frame("{vcpu: 1e-2, ram: 1, storage: 1, address: 1}"):                                                    `f:6:20: offers[0].prices.vcpu: amount "1e-2" is not a decimal number: write digits with at most six behind the point, such as 0.05`,
		frame("{vcpu: 1, ram: 0.0000001, storage: 1, address: 1}"):                                               `f:6:28: offers[0].prices.ram: amount "0.0000001" has more than 6 decimals: write digits with at most six behind the point, such as 0.05`,
		frame("{vcpu: 1, ram: 1, storage: -1, address: 1}"):                                                      `f:6:40: offers[0].prices.storage: amount "-1" is not a decimal number: write digits with at most six behind the point, such as 0.05`,
		frame("{vcpu: 1, ram: 1, storage: 1, address: '+1'}"):                                                    `f:6:52: offers[0].prices.address: amount "+1" is not a decimal number: write digits with at most six behind the point, such as 0.05`,
		frame("{vcpu: 1000000.000001, ram: 1, storage: 1, address: 1}"):                                          "f:6:20: offers[0].prices.vcpu: a price of 1000000.000001 USDC is more than 1000000",
		frame("{vcpu: , ram: 1, storage: 1, address: 1}"):                                                        "f:6:20: offers[0].prices.vcpu: it has to be a decimal number, not nothing",
		frame("{vcpu: yes, ram: 1, storage: 1, address: true}"):                                                  `f:6:20: offers[0].prices.vcpu: amount "yes" is not a decimal number: write digits with at most six behind the point, such as 0.05|f:6:54: offers[0].prices.address: it has to be a decimal number, not true or false`,
		strings.Replace(frame(prices), "country: DE", "country: de", 1):                                          `f:2:15: datacenters[0].country: "de" can't be taken. Two capital letters of ISO 3166-1 alpha-2, such as DE.`,
		strings.Replace(frame(prices), "tier: 3", "tier: 5", 1):                                                  "f:2:36: datacenters[0].tier: it has to be 4 or less",
		strings.Replace(frame(prices), "tier: 3", "tier: 2.5", 1):                                                "f:2:36: datacenters[0].tier: it has to be a whole number",
		strings.Replace(frame(prices), "tier: 3", "tier: 99999999999999999999", 1):                               "f:2:36: datacenters[0].tier: it has to be 4 or less",
		strings.Replace(frame(prices), "tier: 3", "tier: 3, certifications: [A, B, A]", 1):                       "f:2:55: datacenters[0].certifications: the items 1 and 3 are the same",
		strings.Replace(frame(prices), "datacenter: de-fra-1", "datacenter: de-fra-2", 1):                        `f:5:17: offers[0].datacenter: no datacenter "de-fra-2" is declared: add it under datacenters, or take one of de-fra-1`,
		strings.Replace(frame(prices), "offers:", "  - {country: DE, city: FRA, index: 1, tier: 2}\noffers:", 1): "f:3:5: datacenters[1]: datacenter de-fra-1 is declared twice, first in line 2: give one of them another index",
		frame(prices) + "  - {name: a, datacenter: de-fra-1, prices: " + prices + "}\n":                          `f:7:12: offers[1].name: offer "a" is there twice, first in line 4: give one of them another name`,
		frame(prices) + "    hardware: {storage: {type: Floppy}}\n":                                              "f:7:32: offers[0].hardware.storage.type: it has to be one of HDD, SSD, NVMe",
		frame(prices) + "    hardware: {cpu: {generation: 4}}\n":                                                 "f:7:34: offers[0].hardware.cpu.generation: it has to be text: write it in quotes",
		frame(prices) + "    hardware: &h {cpu: *h}\n":                                                           "f:7:15: this is nested too deeply, or an alias is part of what it stands for",
	} {
		_, faults := listing.Parse("f", []byte(text))
		lines := make([]string, len(faults))
		for i, f := range faults {
			lines[i] = f.String()
		}
		if got := strings.Join(lines, "|"); got != want {
			t.Errorf("%s\n  got  %s\n  want %s", text, got, want)
		}
	}
}

// TestEveryFaultAtOnce: one look at a file is enough to put it right.
func TestEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	const text = `colour: blue
datacenters:
  - {country: DE, city: Frankfurt, tier: 0}
offers:
  - {name: a, datacenter: us-nyc-1, prices: {vcpu: 1e3, ram: 1, storage: 1, address: 1, gpu: 1}}
  - {name: a, prices: {}}
`
	_, faults := listing.Parse("f", []byte(text))
	var paths []string
	last := 0
	for _, f := range faults {
		paths = append(paths, f.Path)
		if f.Line < last {
			t.Errorf("%s comes behind a fault in line %d", f, last)
		}
		last = f.Line
	}
	want := []string{
		"colour", "datacenters[0].city", "datacenters[0].tier", "offers[0].datacenter", "offers[0].prices.vcpu", "offers[0].prices.gpu",
		"offers[1]", "offers[1].name", "offers[1].prices",
	}
	if !reflect.DeepEqual(paths, want) {
		t.Errorf("faults at %q, want %q", paths, want)
	}
}

func TestAliasesStandForWhatTheyName(t *testing.T) {
	t.Parallel()
	text := strings.Replace(frame("&p "+prices), "name: a", "name: &n a", 1) + "  - {name: b, datacenter: de-fra-1, prices: *p}\n"
	got, faults := listing.Parse("f", []byte(text))
	if len(faults) > 0 || got.Offers[1].Prices != got.Offers[0].Prices {
		t.Errorf("%+v, %v; want the same prices twice", got, faults)
	}
}

// TestAliasBomb: a few lines can't stand for a billion values.
func TestAliasBomb(t *testing.T) {
	t.Parallel()
	text := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		before := string(c - 1)
		text += string(c) + ": &" + string(c) + " [*" + strings.Repeat(before+",*", 9) + before + "]\n"
	}
	_, faults := listing.Parse("f", []byte(text))
	if len(faults) != 1 || !strings.Contains(faults[0].Message, "more than can be a listing") {
		t.Errorf("faults %v, want one about the aliases", faults)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	text := []byte(frame(prices))
	for path, want := range map[string]string{
		"offers[0].prices.ram":        "f:6:28: offers[0].prices.ram: no",
		"datacenters[0].index":        "f:2:5: datacenters[0].index: no", // left out
		"offers[9].name":              "f:4:3: offers[9].name: no",
		"":                            "f:1:1: no",
		"offers[0].hardware.cpu.what": "f:4:5: offers[0].hardware.cpu.what: no",
	} {
		if got := listing.Find("f", text, path, "no").String(); got != want {
			t.Errorf("Find(%q) = %s, want %s", path, got, want)
		}
	}
	if got := listing.Find("f", []byte(": ["), "offers[0]", "no"); got.Line != 1 {
		t.Errorf("in a file that is none: %s", got)
	}
}
