{{- define "stream-monitor.name" -}}
{{- if contains "stream-monitor" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-stream-monitor" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "stream-monitor.selector" -}}
app.kubernetes.io/name: stream-monitor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "stream-monitor.labels" -}}
{{ include "stream-monitor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "stream-monitor.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What the settings say of http: HTTPS where there is a certificate. */}}
{{- define "stream-monitor.scheme" -}}
{{- if (.Values.settings.http).tls_certificate }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{/* A port beyond loopback needs a token and TLS, or something else that guards it: the network policy, or who says so. */}}
{{- define "stream-monitor.open" -}}
{{- $http := .Values.settings.http | default dict -}}
{{- if and $http.token $http.tls_certificate }}false
{{- else if or .Values.networkPolicy.enabled $http.open }}true
{{- else }}{{ fail "networkPolicy.enabled is false, so nothing guards the ports: set settings.http.token and tls_certificate, or settings.http.open" }}
{{- end }}
{{- end }}

{{- define "stream-monitor.rekey" -}}
{{- if and (.Values.settings.join).rekey (not .Values.rekey.enabled) }}{{ fail "settings.join.rekey is true: set rekey.enabled, or no label arrives" }}{{ end }}
{{- end }}

{{- define "stream-monitor.topic" -}}
{{- $names := (.root.Values.settings.topics).names | default dict -}}
{{- get $names .role | default (printf "%s.%s" .root.Values.settings.app .role) }}
{{- end }}

{{- define "stream-monitor.environment" -}}
- {name: STREAM_MONITOR__HTTP__HOST, value: "0.0.0.0"}
- {name: STREAM_MONITOR__HTTP__PORT, value: "9464"}
- {name: STREAM_MONITOR__HTTP__OPEN, value: {{ include "stream-monitor.open" . | quote }}}
- {name: STREAM_MONITOR__LOG__FORMAT, value: json}
{{- end }}

{{- define "stream-monitor.container" -}}
image: {{ include "stream-monitor.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "stream-monitor.mounts" -}}
- {name: settings, mountPath: /etc/stream-monitor, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.secrets }}
- {name: secrets, mountPath: /run/secrets, readOnly: true}
{{- end }}
{{- end }}

{{/* Call with a dict of root and config, the name of the ConfigMap. */}}
{{- define "stream-monitor.volumes" -}}
- name: settings
  configMap: {name: {{ .config }}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if .root.Values.secrets }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .root.Values.secrets }}
      - secret:
          name: {{ .name }}
          items: [{key: {{ .key }}, path: {{ .file }}}]
      {{- end }}
{{- end }}
{{- end }}

{{/* Call with a dict of root and role. */}}
{{- define "stream-monitor.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "stream-monitor.annotations" -}}
checksum/settings: {{ toYaml .Values.settings | sha256sum }}
{{- with .Values.pod.annotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "stream-monitor.resources" -}}
requests: {cpu: {{ .cpu | quote }}, memory: {{ .memoryMi | int }}Mi}
limits: {memory: {{ mul (.memoryMi | int) 2 }}Mi}
{{- end }}

{{- define "stream-monitor.probe" -}}
httpGet: {path: {{ .path }}, port: {{ .port }}, scheme: {{ include "stream-monitor.scheme" .root }}}
{{- end }}
