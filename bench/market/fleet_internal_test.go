package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
)

// Figures of two versions can be compared only while both measure the same.
func TestFleetStaysTheSame(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		1_000:  "dc5c04e4e2f81287ac3c530265c40607bc5c10ea9107104df0bd053bbaa39d0b",
		10_000: "6073144161db517a54b2bed32ed60784d7241ad7144db82df565b5513744aa26",
	} {
		var text bytes.Buffer
		if err := writeFleet(&text, makeFleet(n)); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(text.Bytes())); got != want {
			t.Errorf("fleet of %d has digest %s, want %s", n, got, want)
		}
	}
}

func TestMixStaysTheSame(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	for _, w := range makeMix(2_000) {
		fmt.Fprintln(&text, w.size, w.country, w.maker, w.arch, w.memory, w.disk, w.unit)
	}
	const want = "4cfa0bb9c08cb65269e95725be86585a5cebc0586b3865dfa1c8d13052a36d88"
	if got := fmt.Sprintf("%x", sha256.Sum256(text.Bytes())); got != want {
		t.Errorf("the mix has digest %s, want %s", got, want)
	}
}

func TestFloorAndIndexFindTheSame(t *testing.T) {
	t.Parallel()
	fleet := makeFleet(3_000)
	index, _ := newIndex(fleet)
	if err := sameAnswers(index, newBitsets(fleet), makeMix(500)); err != nil {
		t.Error(err)
	}
	fleet[1234].used = room{} // of the bitmaps alone
	fleet[1234].unit = 60_000
	if sameAnswers(index, newBitsets(fleet), makeMix(500)) == nil {
		t.Error("no difference is found between fleets that differ")
	}
}

func TestDocumentIsThatOfTheStandardLibrary(t *testing.T) {
	t.Parallel()
	if err := checkDocument(makeDocument(page)); err != nil {
		t.Error(err)
	}
	if err := checkDocument([]docOffer{{Datacenter: docDatacenter{Certifications: []string{`"<ü&`}}, Resources: []docResource{}, Servers: []docServer{}}}); err != nil {
		t.Error(err)
	}
}

func TestCheapestIsFoundOut(t *testing.T) {
	t.Parallel()
	fleet := []machine{
		{number: 1, total: room{8, 16, 200, 4}, unit: 100_000},
		{number: 2, total: room{4, 8, 100, 2}, unit: 90_000},
	}
	w := wish{size: 1, country: anything, maker: anything, arch: anything, memory: anything, disk: anything}
	dear := placed{wish: w, server: 1, price: w.price(100_000), takes: w.need()}
	cheap := placed{wish: w, server: 2, price: w.price(90_000), takes: w.need()}
	for _, test := range []struct {
		name string
		list []placed
		fine bool
	}{
		{"cheapest first", []placed{cheap, dear}, true},
		{"dearer while there is room", []placed{dear, cheap}, false},
		{"beyond what there is", []placed{cheap, cheap}, false},
		{"another price than the server's", []placed{{wish: w, server: 2, price: 1, takes: w.need()}}, false},
		{"smaller than wanted", []placed{{wish: w, server: 2, price: w.price(90_000), takes: room{2, 4, 25, 1}}}, false},
	} {
		if err := checkCheapest(newStock(fleet), test.list); (err == nil) != test.fine {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

func TestAuditFindsFaults(t *testing.T) {
	t.Parallel()
	fleet := []machine{{number: 1, total: room{8, 16, 200, 4}, used: room{2, 4, 25, 1}}}
	server := keptServer{number: 1, total: fleet[0].total, used: room{4, 8, 50, 2}}
	v := keptVM{id: "a", server: 1, address: "10.0.0.1", takes: room{2, 4, 25, 1}}
	for _, test := range []struct {
		name  string
		books books
		ids   []string
		fine  bool
	}{
		{"all well", books{[]keptServer{server}, []keptVM{v}}, []string{"a"}, true},
		{"a VM is missing", books{[]keptServer{server}, []keptVM{v}}, []string{"a", "b"}, false},
		{"more is used than VMs take", books{[]keptServer{server}, nil}, nil, false},
		{"an address twice", books{[]keptServer{{number: 1, total: server.total, used: room{6, 12, 75, 3}}}, []keptVM{v, {id: "b", server: 1, address: v.address, takes: v.takes}}}, nil, false},
		{"oversold", books{[]keptServer{{number: 1, total: server.total, used: room{10, 8, 50, 2}}}, []keptVM{{id: "a", server: 1, address: "10.0.0.1", takes: room{8, 4, 25, 1}}}}, nil, false},
		{"a server is missing", books{nil, nil}, nil, false},
		{"a VM on no server", books{[]keptServer{server}, []keptVM{{id: "a", server: 7, address: v.address, takes: v.takes}}}, nil, false},
	} {
		if err := test.books.audit(fleet, test.ids); (err == nil) != test.fine {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
