// SPDX-License-Identifier: MPL-2.0

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;
import org.springframework.vault.authentication.TokenAuthentication;
import org.springframework.vault.client.VaultEndpoint;
import org.springframework.vault.core.VaultOperations;
import org.springframework.vault.core.VaultTemplate;
import org.springframework.vault.core.lease.SecretLeaseContainer;
import org.springframework.vault.core.lease.domain.RequestedSecret;
import org.springframework.vault.core.lease.event.SecretLeaseCreatedEvent;
import org.springframework.vault.core.lease.event.SecretLeaseEvent;

/**
 * Posts each line of the input to a provider, with a bearer token from Vault. A line is a message in the provider's
 * JSON. Needs Java 17 and the libraries of pom.xml:
 *
 * <pre>
 *   mvn dependency:copy-dependencies -DoutputDirectory=lib
 *   export VAULT_ADDR=https://vault.example.com:8200 VAULT_TOKEN=…
 *   java -cp 'lib/*' Send.java messaging/creds/sinch https://provider.example.com/messages &lt;messages.jsonl
 * </pre>
 */
public class Send {
    static final HttpClient http = HttpClient.newHttpClient();

    /** Keeps a token that Spring Vault reads in the background. The config needs leases, which are the default. */
    static class Source implements AutoCloseable {
        private final VaultOperations vault;
        private final RequestedSecret secret;
        private final Duration beforeEnd;
        private final SecretLeaseContainer container;
        private final ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
        private String token;
        private String id; // the token_id of the token
        private Instant end;
        private Exception problem; // why there may be no valid token, or null

        /** Reads the token again when its lease has only beforeEnd left. */
        Source(VaultOperations vault, String path, Duration beforeEnd) {
            this.vault = vault;
            this.secret = RequestedSecret.rotating(path);
            this.beforeEnd = beforeEnd;
            scheduler.setDaemon(true);
            scheduler.afterPropertiesSet();
            container = new SecretLeaseContainer(vault, scheduler);
            container.setExpiryThreshold(beforeEnd);
            container.setMinRenewal(pause());
            container.addLeaseListener(this::read);
            container.addErrorListener(this::failed);
            container.addRequestedSecret(secret);
            container.afterPropertiesSet();
            container.start();
        }

        synchronized String token() {
            if (token == null || !Instant.now().isBefore(end)) {
                throw new IllegalStateException("there is no valid token from " + secret.getPath(), problem);
            }
            return token;
        }

        /** Says that the provider rejects a token. Reports the token to Vault and reads a new one. */
        synchronized void refused(String refused) {
            if (refused.equals(token)) {
                var answer = vault.read(secret.getPath() + "?rejected=" + id);
                keep(answer.getRequiredData(), answer.getLeaseDuration());
            }
        }

        private void read(SecretLeaseEvent event) {
            if (event instanceof SecretLeaseCreatedEvent created) {
                keep(created.getSecrets(), created.getLease().getLeaseDuration().toSeconds());
            }
        }

        private synchronized void keep(Map<String, Object> data, long seconds) {
            token = (String) data.get("access_token");
            id = (String) data.get("token_id");
            end = Instant.now().plusSeconds(seconds);
            problem = seconds > 0 ? null : new IllegalStateException("Spring Vault does not rotate a secret without a lease; set lease=true");
        }

        /** After an error the container never reads again, so add the secret again. */
        private synchronized void failed(SecretLeaseEvent event, Exception error) {
            problem = error;
            if (container.isRunning()) {
                scheduler.schedule(() -> container.addRequestedSecret(secret), Instant.now().plus(pause()));
            }
        }

        /** Returns how long to wait between reads while the provider fails. */
        private Duration pause() {
            return Duration.ofSeconds(Math.max(1, beforeEnd.toSeconds() / 6));
        }

        @Override
        public void close() {
            container.stop();
            scheduler.destroy();
        }
    }

    /** Posts a message. If the provider rejects the token, tries once more with a new one. */
    static void send(Source tokens, URI url, String message) throws IOException, InterruptedException {
        for (int tries = 1; ; tries++) {
            var token = tokens.token();
            var request = HttpRequest.newBuilder(url)
                    .header("Authorization", "Bearer " + token).header("Content-Type", "application/json")
                    .timeout(Duration.ofSeconds(30)).POST(BodyPublishers.ofString(message)).build();
            int status = http.send(request, BodyHandlers.discarding()).statusCode();
            if (status < 300) {
                return;
            }
            if (status != 401 || tries == 2) {
                throw new IOException("the provider answered " + status);
            }
            tokens.refused(token);
        }
    }

    public static void main(String[] args) throws Exception {
        var endpoint = VaultEndpoint.from(URI.create(System.getenv("VAULT_ADDR")));
        var vault = new VaultTemplate(endpoint, new TokenAuthentication(System.getenv("VAULT_TOKEN")));
        vault.afterPropertiesSet();
        var beforeEnd = Duration.ofSeconds(Integer.getInteger("beforeEnd", 60));
        try (var tokens = new Source(vault, args[0], beforeEnd)) {
            var lines = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = lines.readLine()) != null; ) {
                try {
                    send(tokens, URI.create(args[1]), line);
                } catch (IllegalStateException e) {
                    System.out.println("not sent: " + e.getMessage() + ": " + e.getCause());
                }
            }
        }
    }
}
