package market

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/money"
)

// relaxCertifications drops the fewest certifications that let some datacenters
// in, and more one after the other until that is enough.
func (e *explaining) relaxCertifications() []Relaxation {
	type lack struct {
		missing []string
		room    int64
		price   money.Amount
	}
	var lacks []*lack
	for _, n := range e.near[byCertification] {
		missing := e.request.missing(&n.group.offer.Datacenter)
		i := slices.IndexFunc(lacks, func(l *lack) bool { return slices.Equal(l.missing, missing) })
		if i < 0 {
			i, lacks = len(lacks), append(lacks, &lack{missing: missing, price: n.price})
		}
		lacks[i].room, lacks[i].price = lacks[i].room+n.room, min(lacks[i].price, n.price)
	}
	slices.SortStableFunc(lacks, func(a, b *lack) int {
		return cmp.Or(cmp.Compare(len(a.missing), len(b.missing)), cmp.Compare(a.price, b.price))
	})
	ways, together := [][]string{}, []string(nil)
	for _, l := range lacks {
		ways = append(ways, l.missing)
	}
	for _, l := range lacks {
		more := slices.DeleteFunc(slices.Clone(l.missing), func(name string) bool { return named(together, name) })
		if len(more) > 0 {
			together = append(slices.Clone(together), more...)
			ways = append(ways, together)
		}
	}
	for _, missing := range ways {
		room := int64(0)
		for _, l := range lacks {
			if !slices.ContainsFunc(l.missing, func(name string) bool { return !named(missing, name) }) {
				room += l.room
			}
		}
		if !e.enough(room) {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(e.request.Certifications), func(name string) bool { return named(missing, name) })
		dropped := unique(missing, strings.Compare)
		return e.relaxed(byCertification, "do without "+counted("certification", dropped), func(r *Request) { r.Certifications = left })
	}
	return nil
}
