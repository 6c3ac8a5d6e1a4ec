package id_test

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/id"
)

// The examples of EIP-55.
var eip55 = []string{
	"0x52908400098527886E0F7030069857D2E4169EE7",
	"0xde709f2102306220921060314715629080e2fb77",
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
	"0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
	"0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
}

func TestParseVMSpellsAsEIP55(t *testing.T) {
	t.Parallel()
	for _, want := range eip55 {
		for _, s := range []string{want, strings.ToLower(want), strings.ToUpper(want)} {
			if got, err := id.ParseVM(s); err != nil || got != want {
				t.Errorf("ParseVM(%q) = %q, %v; want %q", s, got, err, want)
			}
		}
	}
}

func TestParseVMRefusesOthers(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "0x", "0x12", eip55[0] + "0", eip55[0][2:], "0x" + strings.Repeat("g", 40), "../../etc/passwd", strings.Repeat("a", 9999)} {
		got, err := id.ParseVM(s)
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("ParseVM(%.20q) = %q, %v; want a NotFound fault", s, got, err)
		} else if len(err.Error()) > 120 {
			t.Errorf("the fault repeats %d characters of input", len(err.Error()))
		}
	}
}

func TestNewSortsByTime(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0)
	last := ""
	for range 100 {
		at = at.Add(time.Millisecond)
		next, err := id.New("acc", at, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if next <= last {
			t.Fatalf("%q does not sort behind %q", next, last)
		}
		last = next
	}
}

// Ids of VMs sort by the time they were made, whatever letters follow.
func TestNewVMSorts(t *testing.T) {
	t.Parallel()
	last := ""
	for i := range 1000 {
		next, err := id.NewVM(time.UnixMilli(int64(1_700_000_000_000+i)), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if next <= last {
			t.Fatalf("%q does not sort behind %q", next, last)
		}
		last = next
	}
}

func TestNewVMIsWellFormed(t *testing.T) {
	t.Parallel()
	got, err := id.NewVM(time.Now(), rand.Reader)
	if err != nil || !regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`).MatchString(got) {
		t.Fatalf("NewVM = %q, %v", got, err)
	}
	if again, err := id.ParseVM(got); err != nil || again != got {
		t.Errorf("ParseVM(%q) = %q, %v; want the same spelling", got, again, err)
	}
}
