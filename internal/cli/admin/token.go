package admin

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

func token(s *session.Session) *cobra.Command {
	return session.Noun(&cobra.Command{Use: "token", Short: "Tokens that let servers join"}, createToken(s))
}

func createToken(s *session.Session) *cobra.Command {
	i := client.Invitation{Index: 1, Tier: 1}
	var dry session.DryRun
	valid := 24 * time.Hour
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a token with which one server joins the marketplace",
		Long: "Create a token with which one server joins the marketplace, once. It says whose the server is,\n" +
			"where it stands and what it costs; provider and datacenter are made where there are none.\n" +
			"Prices are in USDC per unit and epoch.",
		Example: session.Lines(
			"cpucloud admin token create --provider Example --country US --city NYC",
			"cpucloud admin token create --provider Example --country DE --city FRA --tier 3 --price-vcpu 0.2 --price-ram 0.06",
			"cpucloud admin token create --provider Example --country US --city NYC -o json | jq -r .token",
			"cpucloud admin token create --provider Example --country US --city NYC --dry-run",
		),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if valid < time.Hour || valid%time.Hour != 0 {
				return fault.New(fault.Invalid, "--valid has to be a number of whole hours, such as 24h")
			}
			i.ValidHours = int(valid / time.Hour)
			cloud, err := s.Admin()
			if err != nil {
				return err
			}
			made, err := dry.Of(cloud).CreateJoinToken(cmd.Context(), i)
			if err != nil {
				return err
			}
			if dry {
				dry.Note(s)
				return session.PrintUntil(s, made, made.ExpiresAt)
			}
			s.Notef("Good for one server until %s UTC.", made.ExpiresAt.UTC().Format(time.DateTime))
			var bare session.Table
			bare.Add(made.Token)
			return s.Print(made, bare)
		},
	}
	dry.Bind(cmd)
	f := cmd.Flags()
	f.StringVar(&i.Provider, "provider", "", "name of the provider")
	f.StringVar(&i.Country, "country", "", "two-letter country code")
	f.StringVar(&i.City, "city", "", "three-letter UN/LOCODE of the city")
	f.IntVar(&i.Index, "index", i.Index, "number of the datacenter within the city")
	f.IntVar(&i.Tier, "tier", i.Tier, "tier of the datacenter, 1 to 4")
	f.StringSliceVar(&i.Certifications, "certification", nil, "what the datacenter is certified for; may be given several times")
	f.StringVar(&i.Prices.VCPU, "price-vcpu", "0.05", "per vCPU")
	f.StringVar(&i.Prices.RAM, "price-ram", "0.02", "per GiB of RAM")
	f.StringVar(&i.Prices.Storage, "price-storage", "0.004", "per GiB of storage")
	f.StringVar(&i.Prices.Address, "price-address", "0.02", "per public address")
	f.IntVar(&i.MaxExtraStorage, "max-extra-storage", 0, "most GiB that one VM may add, 0 for no limit")
	f.DurationVar(&valid, "valid", valid, "how long the token is good")
	return cmd
}
