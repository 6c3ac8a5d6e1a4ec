package service

import (
	"strings"
)

// Unit returns the unit that runs command, an agent whose data folder is dir.
//
// Machines are children of the agent and are to outlive it, as are the processes
// that connect them. They are scopes of their own, unless systemd can't be asked
// for these: only the agent is ended when the service is (KillMode), one of them that takes too much memory
// does not end the service (OOMPolicy) and goes before it when the host is out
// (OOMScoreAdjust), and their number has no bound of the
// service's own (TasksMax). Both see what the host has in /tmp and /dev, where
// images and KVM may be; of /usr, /etc and the homes they may only change dir.
func Unit(command []string, dir string) string {
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = quote(w)
	}
	return `[Unit]
Description=CPU Cloud agent: runs virtual machines for a marketplace
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=` + strings.Join(words, " ") + `
Restart=always
RestartSec=5
KillMode=process
TimeoutStopSec=60
OOMPolicy=continue
OOMScoreAdjust=-500
TasksMax=infinity
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
ReadWritePaths=` + quotePath(dir) + `
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectHostname=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
`
}

// quote writes a word so that systemd reads it as one: specifiers and variables
// are not replaced in it. The program's own path must not hold a "$", which
// systemd does not undo there.
func quote(word string) string {
	word = strings.NewReplacer("%", "%%", "$", "$$").Replace(word)
	if word != "" && !strings.ContainsAny(word, " \t\n\"'\\;") {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(word) + `"`
}

// quotePath writes a path: there, variables are not replaced.
func quotePath(path string) string {
	return `"` + strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(path) + `"`
}
