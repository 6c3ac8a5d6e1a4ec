package vm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/fault"
)

var sshPort = client.Port{Port: 22, Protocol: "tcp"}

// parsePorts reads ports such as 80, 80/tcp or 53/udp; without a protocol it
// is tcp. The result is never nil.
func parsePorts(words []string) ([]client.Port, error) {
	ports := []client.Port{}
	for _, w := range words {
		number, protocol, found := strings.Cut(w, "/")
		if !found {
			protocol = "tcp"
		}
		n, err := strconv.Atoi(number)
		protocol = strings.ToLower(protocol)
		if err != nil || n < 1 || n > 65535 || protocol != "tcp" && protocol != "udp" {
			return nil, fault.Newf(fault.Invalid, "port %q is not a number from 1 to 65535 with /tcp or /udp, such as 80 or 53/udp", w)
		}
		if p := (client.Port{Port: n, Protocol: protocol}); !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	return ports, nil
}

func portWords(ports []client.Port) string {
	if len(ports) == 0 {
		return "none"
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
	}
	return strings.Join(words, ", ")
}
