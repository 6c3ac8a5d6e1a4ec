package market

// ServerState is what a provider wants of a server.
type ServerState string

// The states. Only an Open server sells; VMs that are there stay in all but
// Removed, which a server reaches when it has none or is lost with them.
const (
	ServerOpen     ServerState = "open"
	ServerCordoned ServerState = "cordoned" // sells nothing more; its provider opens it again
	ServerDraining ServerState = "draining" // sells nothing more; VMs that are left at its deadline are ended
	ServerRemoved  ServerState = "removed"  // left the marketplace; final
)
