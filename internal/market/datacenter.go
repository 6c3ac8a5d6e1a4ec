package market

import (
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/internal/fault"
)

// Datacenter is a place with servers.
type Datacenter struct {
	ID             string
	ProviderID     string
	Country        string // ISO 3166-1 alpha-2
	City           string // UN/LOCODE without the country, such as NYC
	Index          int64  // within the city, from 1
	Tier           int64  // 1–4
	Certifications []string
}

// Slug names the datacenter: us-nyc-1.
func (d Datacenter) Slug() string {
	return strings.ToLower(d.Country + "-" + d.City + "-" + strconv.FormatInt(d.Index, 10))
}

// Check returns an Invalid fault unless the datacenter is well formed.
func (d Datacenter) Check() error {
	switch {
	case !KnownCountry(d.Country):
		return fault.Newf(fault.Invalid, "country %.20q is not an assigned code of ISO 3166-1 alpha-2, such as US", d.Country)
	case !cityCode(d.City):
		return fault.Newf(fault.Invalid, "city %.20q is not the three characters of a UN/LOCODE behind the country, such as NYC", d.City)
	case d.Index < 1 || d.Index > 9999:
		return fault.Newf(fault.Invalid, "index %d of a datacenter is not within 1 to 9999", d.Index)
	case d.Tier < 1 || d.Tier > 4:
		return fault.Newf(fault.Invalid, "tier %d is not within 1 to 4", d.Tier)
	case len(d.Certifications) > 20:
		return fault.Newf(fault.Invalid, "%d certifications are more than 20", len(d.Certifications))
	}
	for _, c := range d.Certifications {
		if c == "" || len(c) > 100 {
			return fault.New(fault.Invalid, "a certification is 1 to 100 characters")
		}
	}
	return nil
}

// cityCode reports whether s is a location code of UN/LOCODE: three letters,
// or digits from 2 to 9 where letters ran out (UNECE Recommendation 16).
func cityCode(s string) bool {
	return len(s) == 3 && !strings.ContainsFunc(s, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < '2' || c > '9') })
}

// countries are the assigned codes of ISO 3166-1 alpha-2.
const countries = " AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "

// KnownCountry reports whether code is an assigned code of ISO 3166-1 alpha-2.
func KnownCountry(code string) bool {
	return len(code) == 2 && !strings.Contains(code, " ") && strings.Contains(countries, " "+code+" ")
}
