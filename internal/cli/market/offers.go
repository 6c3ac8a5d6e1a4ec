package market

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// Offers is the command that searches the marketplace.
func Offers(s *session.Session) *cobra.Command {
	var want Constraints
	cmd := &cobra.Command{
		Use:   "offers",
		Short: "Search the marketplace for servers with room for a VM",
		Long: "Search the marketplace. Every line is one configuration in one datacenter at one price;\n" +
			"FREE says how many such VMs have room. An epoch is the billing period of a VM: 24 hours.",
		Example: session.Lines(
			"cpucloud offers",
			"cpucloud offers --country US,DE --max-price 1.50",
			"cpucloud offers --config cpu-4-ram-8gb-storage-25gb --cpu AMD --extra-storage 100:NVMe",
			"cpucloud offers -o json | jq -r '.[0].configuration.slug'",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			constraints, err := want.Value()
			if err != nil {
				return err
			}
			cloud, err := s.Cloud()
			if err != nil {
				return err
			}
			offers, err := cloud.Offers(cmd.Context(), constraints)
			if err != nil {
				return err
			}
			if len(offers) == 0 {
				s.Notef("Nothing fits. Loosen a filter, or see everything with `cpucloud offers`.")
			}
			return s.Print(identified(offers), offerTable(offers))
		},
	}
	want.Bind(s, cmd)
	return cmd
}

// offer is an offer with a name of its own, which the API does not give it.
type offer struct {
	ID string `json:"id"` // datacenter and configuration
	client.Offer
}

func identified(offers []client.Offer) []offer {
	list := make([]offer, len(offers))
	for i, o := range offers {
		list[i] = offer{PlaceOf(o.Datacenter) + "/" + o.Configuration.Slug, o}
	}
	return list
}

func offerTable(offers []client.Offer) session.Table {
	t := session.Table{Header: []string{"configuration", "price/epoch", "free", "datacenter", "tier", "cpu", "memory", "storage", "extra storage"}}
	for _, o := range offers {
		free := int64(0)
		for _, server := range o.Servers {
			free += server.AvailableBasicInstances
		}
		t.Add(o.Configuration.Slug, o.Configuration.Price, fmt.Sprint(free), PlaceOf(o.Datacenter), fmt.Sprint(o.Datacenter.Tier),
			part(o, "VCPU", "manufacturer", "architecture")+shared(o), part(o, "RAM", "type", "generation"), part(o, "STORAGE", "type"), extraOf(o))
	}
	return t
}

// shared tells how many vCPUs are sold of each hardware thread, if it is more than one.
func shared(o client.Offer) string {
	if n := part(o, "VCPU", "perThread"); n != "" && n != "1" {
		return ", " + n + " vCPU a thread"
	}
	return ""
}

// part joins what an offer says about one of its resources.
func part(o client.Offer, resource string, keys ...string) string {
	var words []string
	for _, r := range o.Resources {
		if r.Type != resource {
			continue
		}
		for _, k := range keys {
			if w := r.Metadata[k]; w != "" {
				words = append(words, w)
			}
		}
		break
	}
	if resource == "RAM" {
		return strings.Join(words, "") // DDR4
	}
	return strings.Join(words, " ")
}

// extraOf says how much storage one VM can have on top, and at what price.
func extraOf(o client.Offer) string {
	for _, a := range o.MaxAdditionalSupply {
		supply := a.Supply
		if a.PerVMLimit != nil {
			supply = min(supply, *a.PerVMLimit)
		}
		if a.Type == "STORAGE" && supply > 0 {
			return fmt.Sprintf("≤ %d %s, %s each", supply, a.Units, a.Price)
		}
	}
	return "-"
}

// PlaceOf names a datacenter, such as us-nyc-1.
func PlaceOf(d client.Datacenter) string {
	return cmp.Or(d.Slug, strings.ToLower(fmt.Sprintf("%s-%s-%d", d.CountryCode, d.CityCode, d.CityIndex)))
}
