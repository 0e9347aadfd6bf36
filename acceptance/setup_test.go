// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"os"
	"testing"

	"vault-plugin-secrets-messaging/acceptance/harness"
	"vault-plugin-secrets-messaging/internal/simulator"
)

// world is what most tests need: a server with the plugin at messaging/, and the
// providers.
type world struct {
	*harness.Server
	sim *harness.Simulator
}

func newWorld(t *testing.T) world {
	t.Helper()
	harness.Need(t)
	w := world{sim: harness.StartSimulator(t), Server: harness.StartDev(t)}
	w.InstallPlugin(t)
	return w
}

// account is one of the simulator's.
type account struct {
	config   string // the name that it goes by here
	provider string
	secret   string         // the name of its secret field
	fields   harness.Fields // what its provider wants
}

// fields with the provider and the simulator's endpoint, and the changes of more:
// a nil takes a field out.
func (a account) write(sim *harness.Simulator, more ...harness.Fields) harness.Fields {
	f := harness.Fields{"provider": a.provider, "token_url": sim.TokenURL(a.provider)}
	for _, m := range append([]harness.Fields{a.fields}, more...) {
		for name, value := range m {
			f[name] = value
			if value == nil {
				delete(f, name)
			}
		}
	}
	return f
}

func (a account) path() string  { return "messaging/config/" + a.config }
func (a account) creds() string { return "messaging/creds/" + a.config }

const (
	sinchPassword = "correct-horse"
	enablexKey    = "battery-staple-app-key"
)

var (
	sinch = account{"sinch", simulator.SinchIndia, "password",
		harness.Fields{"username": "acme", "password": sinchPassword}}
	whatsapp = account{"whatsapp", simulator.EnableXWhatsApp, "app_key",
		harness.Fields{"app_id": "5f0c0ffee0ddba11acce55ed", "app_key": enablexKey}}
	rcs = account{"rcs", simulator.EnableXRCS, "app_key",
		harness.Fields{"app_id": "5f0c0ffee0ddba11acce55ed", "app_key": enablexKey}}

	accounts = []account{sinch, whatsapp, rcs}
)

// file returns the content of a file.
func file(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
